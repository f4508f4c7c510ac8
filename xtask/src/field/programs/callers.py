"""Clients of a line protocol: a greeting, a pause, QUIT, and then they wait for the server to close.

Prints `served N waiting N`.
"""
import socket, sys, threading, time

port, group, pause, every = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
lock = threading.Lock()
served = waiting = 0


def call(hold):
    global served, waiting
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(None)
    connection.sendall(b"HELLO\n")
    connection.recv(100)
    time.sleep(hold)
    connection.sendall(b"QUIT\n")
    with lock:
        waiting += 1
    while connection.recv(100):
        pass
    connection.close()
    with lock:
        waiting -= 1
        served += 1
        print("served", served, "waiting", waiting, "failed 0", flush=True)


# All of the first group are connected at the same time, the later ones come one by one.
for _ in range(group):
    threading.Thread(target=call, args=(pause,), daemon=True).start()
    time.sleep(0.05)
for _ in range(2000):
    time.sleep(every)
    threading.Thread(target=call, args=(0.4,), daemon=True).start()
