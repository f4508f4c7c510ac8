"""A service with a pool of HTTP connections that it uses in turn, and never looks at before.

Prints `served N failed N`.
"""
import http.client, sys, time

port, size, pause, turns = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), 4000
pool = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(size)]
served = failed = 0
for turn in range(turns):
    connection = pool[turn % size]
    try:
        connection.request("POST", "/events", body=b'{"event": "login", "turn": %d}' % turn)
        connection.getresponse().read()
        served += 1
    except (http.client.HTTPException, OSError):
        connection.close()
        failed += 1
    print("served", served, "failed", failed, flush=True)
    time.sleep(pause)
