"""A fleet of connections to one server: some send a heartbeat now and then, the others wait for orders and are silent.

Prints `connected N`.
"""
import socket, sys, threading, time

address, port, beating, silent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def beat(connection):
    for turn in range(2000):
        connection.sendall(b"alive %d\n" % turn)
        connection.recv(100)
        time.sleep(1.7)


connections = []
for number in range(beating + silent):
    connection = socket.create_connection((address, port), 10)
    connection.settimeout(None)
    connection.sendall(b"this is car %d\n" % number)
    connection.recv(100)
    connections.append(connection)
for connection in connections[:beating]:
    threading.Thread(target=beat, args=(connection,), daemon=True).start()
print("connected", len(connections), flush=True)
time.sleep(3600)
