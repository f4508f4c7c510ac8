"""A ticket server on asyncio. It waits for the first line of a client as long as that takes."""
import asyncio, itertools, sys

numbers = itertools.count(1)


async def serve(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    body = b"ticket %d\n" % next(numbers)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
