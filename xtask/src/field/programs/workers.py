"""A server with a few forked workers. Each serves one client at a time, from accept() to close()."""
import os, socket, sys, time

port, workers, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
listener = socket.create_server(("127.0.0.1", port), backlog=50)


def work():
    while True:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            time.sleep(seconds)
            try:
                client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\ndone\n")
            except OSError:
                pass


children = []
for _ in range(workers):
    child = os.fork()
    if child == 0:
        work()
    children.append(child)
for child in children:
    os.waitpid(child, 0)
