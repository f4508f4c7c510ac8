"""A client over TLS that reads its answer to the last byte, thinks, and closes. It never reads the server's farewell.

Prints `served N failed N`.
"""
import socket, ssl, sys, time

port, pause, turns = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
served = failed = 0


def fetch():
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: field\r\nConnection: close\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    body = b""
    while len(body) < length[0]:
        body += connection.recv(length[0] - len(body))
    time.sleep(0.12)
    connection.close()


for _ in range(turns):
    try:
        fetch()
        served += 1
    except OSError as error:
        failed += 1
        print(error)
    print("served", served, "failed", failed, flush=True)
    time.sleep(pause)
