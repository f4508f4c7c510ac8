"""A service with a pool of PostgreSQL connections. It looks at each before it uses it, and discards what the server has
ended; the library says goodbye on such a connection all the same.

Prints `served N failed N discarded N`.
"""
import select, sys, time

import psycopg2

port, size, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def connect():
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")
    connection.autocommit = True
    return connection


pool = [None] * size
served = failed = discarded = 0
for turn in range(4000):
    slot = turn % size
    try:
        if pool[slot] and select.select([pool[slot]], [], [], 0)[0]:
            # Nothing was asked, so that this is the end.
            pool[slot].close()
            pool[slot] = None
            discarded += 1
        pool[slot] = pool[slot] or connect()
        with pool[slot].cursor() as cursor:
            cursor.execute("select %s + 1", (turn,))
            cursor.fetchall()
        served += 1
    except psycopg2.Error as error:
        failed += 1
        pool[slot] = None
        print(str(error).strip().splitlines()[-1])
    print("served", served, "failed", failed, "discarded", discarded, flush=True)
    time.sleep(pause / size)
