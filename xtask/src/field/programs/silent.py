"""Clients that connect and never send a byte, as scanners, lost phones and hanging peers do."""
import socket, sys, time

port, count, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
connections = []
for number in range(count):
    connections.append(socket.create_connection(("127.0.0.1", port), 60))
    print("connected", number + 1, flush=True)
    time.sleep(pause)
time.sleep(3600)
