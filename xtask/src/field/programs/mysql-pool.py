"""A service with a pool of MariaDB connections that it uses in turn. They lie idle for longer than the server allows.

Prints `served N failed N`.
"""
import sys, time

import pymysql

port, size, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def connect():
    return pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)


pool = [None] * size
served = failed = 0
for turn in range(4000):
    slot = turn % size
    try:
        pool[slot] = pool[slot] or connect()
        with pool[slot].cursor() as cursor:
            cursor.execute("select %s + 1", (turn,))
            cursor.fetchall()
        served += 1
    except (pymysql.MySQLError, OSError) as error:
        # Its socket is closed by then.
        pool[slot] = None
        failed += 1
        print(error)
    print("served", served, "failed", failed, flush=True)
    time.sleep(pause / size)
