"""A server that ends connections on which nothing came for some seconds, without a word.

`http`: it answers requests. `lines`: it reads lines, as a log server does, and never says anything.
"""
import asyncio, sys

port, idle, kind = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))


async def serve(reader, writer):
    try:
        while True:
            if kind == "http":
                await asyncio.wait_for(read_request(reader), idle)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nwritten\n")
            elif not await asyncio.wait_for(reader.readline(), idle):
                break
    except (asyncio.TimeoutError, asyncio.IncompleteReadError, OSError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=128)
    await server.serve_forever()


asyncio.run(main())
