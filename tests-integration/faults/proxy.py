"""A TCP proxy that does to connections what networks do: delay, silence, refusal, reset, slowness.

It runs in threads of the test's process and is steered by its attributes, which count at once, also
for connections that are open already. The server behind it knows nothing of it.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

CHUNK = 65536
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends RST instead of FIN."""
LOOK_UP = struct.pack("ll", 0, 100_000)
"""SO_SNDTIMEO: who sends to a peer that does not read looks up ten times a second."""


class FaultProxy:
    """Stands between clients and a server, at `127.0.0.1:port`, until the block ends."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay = 0.0
        """Seconds added to whatever passes, each way."""
        self.rate: float | None = None
        """Bytes per second that pass, each way."""
        self.refuses = False
        """Whether new connections are reset at once."""
        self.accepted = 0
        """How many connections came, refused ones included."""
        self.cut_short = 0
        """How many connections `cut_after` has ended."""
        self._allowance: int | None = None
        self._passing = threading.Event()
        self._passing.set()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []

    @property
    def silent(self) -> bool:
        """Whether connections stay open while nothing passes, as before a peer that hangs."""
        return not self._passing.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        (self._passing.clear if silent else self._passing.set)()

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset all connections now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def cut_after(self, count: int) -> None:
        """Let so many more bytes through to the server, then end the connection that sent the last.

        They arrive, and their sender is reset before the server can answer them.
        """
        with self._lock:
            self._allowance = count

    def __enter__(self) -> Self:
        """Accept connections."""
        self.run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Reset all connections, accept no more, and return when all threads have ended."""
        self._closed.set()
        self._passing.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who accepts
        self._listener.close()
        self.cut()
        for thread in self._threads:  # those that it starts meanwhile are among them
            thread.join()

    def run(self, call: Callable[[], None]) -> threading.Thread:
        """Call something in a thread that `__exit__` waits for."""
        thread = threading.Thread(target=call, name=f"proxy {call.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def wait(self, count: int) -> None:
        """Return when so many bytes may pass."""
        self._closed.wait(self.delay + (count / self.rate if self.rate else 0.0))
        self._passing.wait()

    def allowed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what of this may pass to the server, and whether the connection ends there."""
        with self._lock:
            if self._allowance is None or len(data) < self._allowance:
                self._allowance = self._allowance and self._allowance - len(data)
                return data, False
            passed, self._allowance = data[: self._allowance], None
            self.cut_short += 1
            return passed, True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        if self.refuses:
            reset(client)
            return
        link = _Link(self, client)
        with self._lock:
            self._links.add(link)

        def serve() -> None:
            link.serve(self._target)
            with self._lock:
                self._links.discard(link)

        self.run(serve)
        if self._closed.is_set():
            link.cut()


class _Link:
    """One connection through the proxy: a socket to the client, and one to the server."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = socket.socket()
        self._is_cut = False
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, LOOK_UP)

    def serve(self, target: tuple[str, int]) -> None:
        """Pass on what comes from both ends until both are done."""
        try:
            self._server.connect(target)
        except OSError:
            self.cut()  # nobody is there, so that the client finds nobody
            return
        downwards = self._proxy.run(self._down)
        self._up()
        downwards.join()
        self._client.close()
        self._server.close()

    def cut(self) -> None:
        """Reset both ends."""
        self._is_cut = True  # first: what a reset wakes must not take it for an orderly end
        reset(self._client)
        reset(self._server)

    def _up(self) -> None:
        try:
            while data := self._client.recv(CHUNK):
                self._proxy.wait(len(data))
                passed, last = self._proxy.allowed(data)
                if last:
                    reset(self._client)  # before the server can answer
                self._send(self._server, passed)
                if last:
                    break
            self._end(self._server)
        except OSError:
            self.cut()

    def _down(self) -> None:
        try:
            while data := self._server.recv(CHUNK):
                self._proxy.wait(len(data))
                self._send(self._client, data)
            self._end(self._client)
        except OSError:
            reset(self._client)  # not the server: it may yet have to hear what came before a cut

    def _end(self, sink: socket.socket) -> None:
        if not self._is_cut:
            sink.shutdown(socket.SHUT_WR)

    @staticmethod
    def _send(sink: socket.socket, data: bytes) -> None:
        while data:
            with contextlib.suppress(BlockingIOError):  # the peer does not read
                data = data[sink.send(data) :]


def reset(end: socket.socket) -> None:
    """Close a socket so that its peer gets a reset; do nothing if it is closed."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        end.shutdown(socket.SHUT_RD)  # wakes who reads; the peer does not notice
    end.close()
