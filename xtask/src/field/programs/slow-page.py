"""A page that takes some seconds, because of the report that it makes."""
import time


def application(environ, start_response):
    time.sleep(6.1)
    report = b"all is well\n"
    start_response("200 OK", [("Content-Length", str(len(report))), ("Connection", "close")])
    return [report]
