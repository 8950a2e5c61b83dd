"""A load of requests from a process of its own: several connections, each with one call at a time.

It reads orders from its standard input, `port path count`, and answers each with the seconds that
the calls took. It does as little as possible for each, so that the server is what is measured.
"""

import asyncio
import json
import sys
from time import perf_counter

CONNECTIONS = 16


class Caller(asyncio.Protocol):
    """One connection: sends the same request again and again while any are left."""

    def __init__(self, request: bytes, left: list[int], done: asyncio.Future[None]) -> None:
        self._request = request
        self._left = left
        self._done = done
        self._answer = b""
        self._size: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer."""
        self._answer += data
        if self._size is None:
            head, found, _ = self._answer.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(head.decode("latin-1"))
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._size = len(head) + 4 + int(length)
        if len(self._answer) >= self._size:
            self._answer, self._size = b"", None
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it broke, if it did."""
        self._fail(f"the connection was lost: {exc}")

    def _next(self) -> None:
        if self._left[0] <= 0:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._left[0] -= 1
        self._transport.write(self._request)

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))


async def load(port: int, path: str, count: int) -> float:
    """Make so many calls; return the seconds they took."""
    body = json.dumps({"message": "x" * 200}).encode()
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    left = [count]
    waits: list[asyncio.Future[None]] = []
    began = perf_counter()
    for _ in range(CONNECTIONS):
        done: asyncio.Future[None] = loop.create_future()
        waits.append(done)

        def caller(done: asyncio.Future[None] = done) -> Caller:
            return Caller(request, left, done)

        await loop.create_connection(caller, "127.0.0.1", port)
    await asyncio.gather(*waits)
    return perf_counter() - began


def main() -> None:
    """Obey orders."""
    for line in sys.stdin:
        port, path, count = line.split()
        print(asyncio.run(load(int(port), path, int(count))), flush=True)


if __name__ == "__main__":
    main()
