"""Subscribers of Redis channels on which nearly nothing is published, and the publisher.

Prints `served N failed N`: messages that came.
"""
import socket, sys, threading, time

port, count = int(sys.argv[1]), int(sys.argv[2])
lock = threading.Lock()
served = failed = 0


def connect():
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(None)
    return connection


def subscribe(number):
    global served, failed
    connection = connect()
    connection.sendall(b"SUBSCRIBE news channel-%d\r\n" % number)
    while data := connection.recv(4096):
        with lock:
            served += data.count(b"message")
            print("served", served, "failed", failed, flush=True)
    with lock:
        failed += 1
        print("served", served, "failed", failed, flush=True)


for number in range(count):
    threading.Thread(target=subscribe, args=(number,), daemon=True).start()
publisher = connect()
time.sleep(2)
for turn in range(200):
    publisher.sendall(b"PUBLISH news nothing-new-%d\r\n" % turn)
    publisher.recv(100)
    time.sleep(23)
