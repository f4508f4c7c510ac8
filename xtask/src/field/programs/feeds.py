"""A server of feeds: 600 bytes, and then it ends the connection."""
import socketserver, sys


class Feed(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        head = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
        self.wfile.write(head + b"." * (600 - len(head)))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


Server(("127.0.0.1", int(sys.argv[1])), Feed).serve_forever()
