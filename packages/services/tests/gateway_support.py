"""What the tests of the gateway share: an app that speaks odd HTTP, and reading what comes back."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import socket
import threading
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

from services_support import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

MEBIBYTE = 1 << 20
PIECE = 64 * 1024


class Asked(NamedTuple):
    """A request, as it arrived at the app; which one of its connection it is."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    turn: int = 1

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for found, value in self.headers if found == name]

    def one(self, name: str) -> str | None:
        """Return the value of a header that may be there once."""
        (found,) = self.all(name) or [None]
        return found


class OddApp:
    """A server that does to the letter what the first word of a path says, in a thread.

    What it saw stays in `asked`. `go` lets it go on where it waits, `lost` says that it lost a
    caller on whom it waited.
    """

    def __init__(self, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.go = threading.Event()
        self.lost = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def forget(self) -> None:
        """Begin anew."""
        self.asked.clear()
        self.go.set()
        self.go = threading.Event()  # who still waits for the old one must see that it was set
        self.lost.clear()

    def last(self) -> Asked:
        return self.asked[-1]

    def drop_connections(self) -> None:
        """Close all connections, without a word."""

        def drop() -> None:
            for each in self._writers:
                each.transport.abort()

        self._loop.call_soon_threadsafe(drop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for each in list(self._writers):
            each.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            for turn in count(1):
                asked = (await _asked(reader))._replace(turn=turn)
                self.asked.append(asked)
                word = urlsplit(asked.target).path.rpartition("/")[2]
                act = getattr(self, f"do_{word}", self.do_reflect)
                if not await act(asked, reader, writer):
                    break
        self._writers.discard(writer)
        writer.close()

    async def wait_for_go(self) -> None:
        go = self.go
        while not go.is_set():  # noqa: ASYNC110 - a test sets it, in another thread
            await asyncio.sleep(0.005)

    # what it can do: each returns whether the connection is kept

    async def do_reflect(self, asked: Asked, reader: Any, writer: Any) -> bool:
        body = b"".join([each async for each in _body(asked, reader)])
        said = {"method": asked.method, "target": asked.target, "body": body.decode("latin-1")}
        _answer(writer, "200 OK", json.dumps(said).encode(), "Content-Type: application/json")
        return True

    async def do_sink(self, asked: Asked, reader: Any, writer: Any) -> bool:
        digest, size = hashlib.sha256(), 0
        async for each in _body(asked, reader):
            digest.update(each)
            size += len(each)
        _answer(writer, "201 Created", f"{size} {digest.hexdigest()}".encode())
        return True

    async def do_fountain(self, asked: Asked, reader: Any, writer: Any) -> bool:
        size = int(urlsplit(asked.target).query)
        _head(writer, "200 OK", f"Content-Length: {size}", "Content-Type: application/x-water")
        for _ in range(size // PIECE):
            writer.write(b"w" * PIECE)
            await writer.drain()
        return True

    async def do_slow_body(self, asked: Asked, reader: Any, writer: Any) -> bool:
        pieces = _body(asked, reader)
        first = await anext(pieces)
        self.go.set()  # the caller learns that the first piece is here before it sends the others
        rest = b"".join([each async for each in pieces])
        _answer(writer, "200 OK", first + b"|" + rest)
        return True

    async def do_events(self, asked: Asked, reader: Any, writer: Any) -> bool:
        chunked = "Transfer-Encoding: chunked"
        _head(writer, "200 OK", "Content-Type: text/event-stream", chunked)
        _chunk(writer, b"data: one\n\n")
        await self.wait_for_go()
        _chunk(writer, b"data: two\n\n")
        writer.write(b"0\r\n\r\n")
        return True

    async def do_trailers(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Transfer-Encoding: chunked", "Trailer: X-Sum")
        writer.write(b"5;note=odd\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n")
        return True

    async def do_duplex(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Transfer-Encoding: chunked")
        async for each in _body(asked, reader):
            _chunk(writer, each.upper())
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        return True

    async def do_early(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _answer(writer, "413 Content Too Large", b"enough")
        await writer.drain()
        await self.wait_for_go()  # without reading the body
        return False

    async def do_endless(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Transfer-Encoding: chunked")
        try:
            while True:
                _chunk(writer, b"more")
                await writer.drain()
                await asyncio.sleep(0.005)
        except ConnectionError:
            self.lost.set()
            raise

    async def do_silent(self, asked: Asked, reader: Any, writer: Any) -> bool:
        await _body_read(asked, reader)
        with suppress(ConnectionError):
            await reader.read()
        self.lost.set()
        return False

    async def do_half_silent(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Connection: close")
        writer.write(b"the beginning")
        return await self.do_silent(asked, reader, writer)

    async def do_cut(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Content-Length: 100")
        writer.write(b"only this")
        return False

    async def do_cut_chunks(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Transfer-Encoding: chunked")
        _chunk(writer, b"only this")
        return False

    async def do_until_close(self, asked: Asked, reader: Any, writer: Any) -> bool:
        writer.write(b"HTTP/1.0 200 Fine\r\nContent-Type: text/odd\r\n\r\nup to the end")
        return False

    async def do_nothing(self, asked: Asked, reader: Any, writer: Any) -> bool:
        return False

    async def do_fickle(self, asked: Asked, reader: Any, writer: Any) -> bool:
        if asked.turn > 1:
            return False  # as a server that closes a connection in the moment of a new request
        return await self.do_reflect(asked, reader, writer)

    async def do_garbage(self, asked: Asked, reader: Any, writer: Any) -> bool:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        return True

    async def do_switch(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "101 Switching Protocols", "Upgrade: odd", "Connection: upgrade")
        return True

    async def do_long_head(self, asked: Asked, reader: Any, writer: Any) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"m" * 4096 + b"\r\n")
            await writer.drain()

    async def do_hints(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "103 Early Hints", "Link: </style.css>; rel=preload")
        _answer(writer, "200 OK", b"after the hints")
        return True

    async def do_no_content(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "204 No Content", "X-Left: nothing")
        return True

    async def do_not_modified(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "304 Not Modified", 'ETag: "1"', "Content-Length: 1000")
        return True

    async def do_away(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _answer(writer, "307 Temporary Redirect", b"", "Location: http://elsewhere.test/x?y#z")
        return True

    async def do_teapot(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _answer(writer, "418 I am odd", b"\x00\xff short", "Content-Type: application/x-tea")
        return True

    async def do_packed(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _answer(writer, "200 OK", b"\x1f\x8b not really", "Content-Encoding: gzip")
        return True

    async def do_measured(self, asked: Asked, reader: Any, writer: Any) -> bool:
        _head(writer, "200 OK", "Content-Length: 1234")  # as an answer to HEAD has it
        return True

    async def do_headers(self, asked: Asked, reader: Any, writer: Any) -> bool:
        headers = (
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: b=2",
            "Connection: X-Private, keep-alive",
            "X-Private: for the gateway",
            "Keep-Alive: timeout=5",
            "Proxy-Authenticate: Basic",
            "Server: odd/1.0",
            "Date: Sat, 01 Jan 2000 00:00:00 GMT",
            "X-Kept: yes",
        )
        _answer(writer, "200 OK", b"", *headers)
        return True


async def _asked(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.partition(": ") for line in lines]
    return Asked(method, target, [(name.lower(), value) for name, _, value in pairs])


async def _body(asked: Asked, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if asked.one("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            yield await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return
    left = int(asked.one("content-length") or 0)
    while left:
        piece = await reader.read(min(left, PIECE))
        if not piece:
            raise ConnectionError
        left -= len(piece)
        yield piece


async def _body_read(asked: Asked, reader: asyncio.StreamReader) -> None:
    async for _ in _body(asked, reader):
        pass


def _head(writer: asyncio.StreamWriter, status: str, *headers: str) -> None:
    writer.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1"))


def _answer(writer: asyncio.StreamWriter, status: str, body: bytes, *headers: str) -> None:
    _head(writer, status, f"Content-Length: {len(body)}", *headers)
    writer.write(body)


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


@contextmanager
def asking(url: object, method: str, path: str, **more: Any) -> Generator[http.client.HTTPResponse]:
    """Ask, and give the answer when its head is there; nothing is followed, decoded or changed."""
    parts = urlsplit(str(url))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE)
    try:
        connection.request(method, path, **more)
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


def ask(url: object, method: str, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """Ask, and return status, headers with small names, and body."""
    with asking(url, method, path, **more) as answer:
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


def peak_memory(process: int) -> int:
    """Return the most bytes that a process had so far."""
    with open(f"/proc/{process}/status", encoding="ascii") as file:  # noqa: PTH123 - as it is named
        (line,) = [each for each in file if each.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def free_port() -> int:
    """Return a port of which nobody made use a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
