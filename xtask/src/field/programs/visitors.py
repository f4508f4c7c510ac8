"""HTTP clients that come one after the other. Each makes one connection, asks, and leaves when its patience ends.

Prints `served N failed N left N` when one of the numbers has changed.
"""
import argparse, asyncio, itertools, ssl, time

COUNTS = {"served": 0, "failed": 0, "left": 0}


def count(what):
    COUNTS[what] += 1
    print(*(f"{name} {number}" for name, number in COUNTS.items()), flush=True)


async def read_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    await reader.readexactly(length)
    return head.split(b" ", 2)[1]


async def visit(options, patience):
    writer = None
    try:
        context = ssl._create_unverified_context() if options.tls else None
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(options.host, options.port, ssl=context), patience)
        for turn in range(options.requests):
            if turn:
                await asyncio.sleep(options.pause)
                if reader.at_eof():
                    # The server has ended it, which is its right between two requests.
                    break
            persist = "keep-alive" if options.idle or turn + 1 < options.requests else "close"
            writer.write(f"GET {options.path} HTTP/1.1\r\nHost: field\r\nConnection: {persist}\r\n\r\n".encode())
            status = await asyncio.wait_for(read_answer(reader), patience)
            count("served" if status.startswith(b"2") else "failed")
        if options.idle and not reader.at_eof():
            # Until the server ends it, or for so long.
            await asyncio.wait_for(reader.read(1), options.idle)
    except asyncio.TimeoutError:
        count("left")
    except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
        count("failed")
    finally:
        if writer:
            writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--group", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--patience", default="10")
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--idle", type=float, default=0.0)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    address, _, path = options.address.partition("/")
    options.path = "/" + path
    options.host, port = address.rsplit(":", 1)
    options.port = int(port)
    patience = itertools.cycle(float(part) for part in options.patience.split(","))
    visits, begun = set(), time.monotonic()
    for number in range(options.count):
        for _ in range(options.group):
            visit_of_one = asyncio.create_task(visit(options, next(patience)))
            visits.add(visit_of_one)
            visit_of_one.add_done_callback(visits.discard)
        await asyncio.sleep(max(0.0, begun + (number + 1) * options.every - time.monotonic()))
    await asyncio.gather(*visits)
    await asyncio.sleep(3600)


asyncio.run(main())
