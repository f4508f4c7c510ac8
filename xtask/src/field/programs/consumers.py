"""Consumers of RabbitMQ queues that are nearly always empty, and a publisher.

Prints `served N failed N`: messages that came.
"""
import sys, threading, time

import pika

port, count = int(sys.argv[1]), int(sys.argv[2])
lock = threading.Lock()
served = failed = 0


def connect():
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=50))


def consume(queue):
    global served, failed
    try:
        channel = connect().channel()
        channel.queue_declare(queue)
        for method, _, _ in channel.consume(queue):
            channel.basic_ack(method.delivery_tag)
            with lock:
                served += 1
                print("served", served, "failed", failed, flush=True)
    except pika.exceptions.AMQPError as error:
        with lock:
            failed += 1
            print(error, "served", served, "failed", failed, flush=True)


queues = [f"queue-{number}" for number in range(count)]
for queue in queues:
    threading.Thread(target=consume, args=(queue,), daemon=True).start()
time.sleep(3)
connection = connect()
channel = connection.channel()
for turn in range(400):
    channel.basic_publish("", queues[turn % count], b"a message")
    connection.sleep(13)
