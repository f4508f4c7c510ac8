"""A key-value store in memory. It forks a child that writes a snapshot, as Redis does, and goes on serving.

Unlike Redis's, the child keeps what it inherited.
"""
import os, selectors, socket, sys, time

port, fork_at = int(sys.argv[1]), int(sys.argv[2])
values = {}
clients = 0
selector = selectors.DefaultSelector()
listener = socket.create_server(("127.0.0.1", port), backlog=64)
selector.register(listener, selectors.EVENT_READ)


def write_snapshot():
    with open("snapshot", "w") as snapshot:
        for page in range(900):
            print(page, values, file=snapshot, flush=True)
            time.sleep(1)


while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            client, _ = listener.accept()
            selector.register(client, selectors.EVENT_READ)
            clients += 1
            if clients == fork_at and os.fork() == 0:
                write_snapshot()
                os._exit(0)
            continue
        client = key.fileobj
        line = client.recv(200)
        if line in (b"", b"QUIT\n"):
            selector.unregister(client)
            client.close()
        else:
            values[len(values)] = line.decode()
            client.sendall(b"OK\n")
