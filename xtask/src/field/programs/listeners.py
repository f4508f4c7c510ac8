"""Listeners of a server that pushes: WebSockets, server-sent events and long polls.

Prints `served N failed N`: messages that came, and connections that ended.
"""
import base64, os, socket, sys, threading, time

port, counts = int(sys.argv[1]), [int(part) for part in sys.argv[2].split(",")]
lock = threading.Lock()
served = failed = 0


def count(well):
    global served, failed
    with lock:
        served += well
        failed += not well
        print("served", served, "failed", failed, flush=True)


def ask(connection, path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: field", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())


def connect():
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(None)
    return connection


def listen(connection):
    while connection.recv(4096):
        count(True)
    count(False)


def web_socket():
    connection = connect()
    key = base64.b64encode(os.urandom(16)).decode()
    ask(connection, "/socket", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}")
    listen(connection)


def events():
    connection = connect()
    ask(connection, "/events", "Accept: text/event-stream")
    listen(connection)


def poll():
    for _ in range(200):
        with connect() as connection:
            ask(connection, "/poll", "Connection: close")
            count(b" 204 " in connection.recv(4096))


for kind, number in zip((web_socket, events, poll), counts):
    for _ in range(number):
        threading.Thread(target=kind, daemon=True).start()
        time.sleep(0.05)
time.sleep(3600)
