"""An order service. After some requests a thread dies with the lock of the stock, and all later requests wait for it."""
import http.server, sys, threading

port, good = int(sys.argv[1]), int(sys.argv[2])
stock = threading.Lock()
served = 0


class Orders(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global served
        stock.acquire()
        served += 1
        body = b"in stock: %d\n" % served
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if served < good:
            stock.release()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", port), Orders).serve_forever()
