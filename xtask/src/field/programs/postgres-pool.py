"""A service with a pool of connections to PostgreSQL that it uses in turn.

Prints `served N failed N`.
"""
import sys, time

import psycopg2

port, size, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def connect():
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")
    connection.autocommit = True
    return connection


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
    except psycopg2.Error as error:
        if pool[slot]:
            pool[slot].close()
        pool[slot] = None
        failed += 1
        print(str(error).strip().splitlines()[-1])
    print("served", served, "failed", failed, flush=True)
    time.sleep(pause / size)
