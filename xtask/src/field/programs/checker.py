"""Health checks as some balancers make them: connect, end the own direction, and wait for the server to close.

Prints `checked N`.
"""
import socket, sys, threading, time

port, pause, patience = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])


def check():
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(patience)
        try:
            connection.recv(1)
        except TimeoutError:
            pass


for turn in range(3000):
    threading.Thread(target=check, daemon=True).start()
    print("checked", turn + 1, flush=True)
    time.sleep(pause)
