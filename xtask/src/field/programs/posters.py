"""Clients of a line server: a line, the answer, and they close.

Prints `served N failed N`.
"""
import socket, sys, time

port, pause = int(sys.argv[1]), float(sys.argv[2])
served = failed = 0
for turn in range(4000):
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"hello from %d\n" % turn)
            served += bool(connection.recv(200))
    except OSError:
        failed += 1
    print("served", served, "failed", failed, flush=True)
    time.sleep(pause)
