"""`Wire`: a connection to an app, on which one exchange follows the other.

It is written on asyncio and the parser that uvicorn uses, because a client library costs more for
one request than everything else that a gateway does. Both directions run at the same time, so an
app may answer before it has read the whole request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from mindtrace.services.gateway.errors import GATEWAY_TIMEOUT, SILENT, UNAVAILABLE, AppError
from mindtrace.services.gateway.headers import NO_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

HIGH_WATER = 64 * 1024
"""Bytes of an answer that wait for a slow caller before the app has to wait, too."""

MAX_HEAD = 256 * 1024
"""The most bytes before the body of an answer."""

_FIRST_FINAL, _LAST_STATUS = 200, 599


class Head(NamedTuple):
    """What an answer begins with."""

    status: int
    headers: list[tuple[bytes, bytes]]


class Wire(asyncio.Protocol):
    """A connection to an app.

    An exchange is `begin`, any number of `write` and `drain`, `sent`; meanwhile `head`, then
    `piece` until there are no more; `end`. What goes wrong is raised by `head` and `piece`.
    """

    def __init__(self, gone: Callable[[Wire], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone = gone
        self._closed = False
        self._busy = False
        self._writable = True
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.uses = 0
        """How many exchanges there were, this one included."""
        self.expiry: asyncio.TimerHandle | None = None
        """What closes it when nobody needs it; for the pool."""
        self._transport: asyncio.Transport

    # an exchange

    @property
    def is_open(self) -> bool:
        """Whether another exchange may begin."""
        return not (self._closed or self._transport.is_closing())

    @property
    def heard(self) -> bool:
        """Whether anything of the answer has come."""
        return self._fed > 0

    def begin(self, method: str, silence: float) -> None:
        """Begin an exchange; the app may then be silent for so many seconds."""
        self.uses += 1
        self._busy = True
        self._parser = HttpResponseParser(self)
        self._is_head = method == "HEAD"
        self._silence = silence
        self._sent = self._headed = self._complete = self._spoiled = self._paused = False
        self._ends_with_connection = True
        self._interim = False
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._waiting = self._fed = 0
        self._error: Exception | None = None
        self._active = self._loop.time()
        self._timer = self._loop.call_later(silence, self._check)
        if self._closed:
            self._error = _closed("before it was asked", maybe_done=False)

    def write(self, data: bytes) -> None:
        """Send bytes of the request; what they are does not matter here."""
        if not self._closed:
            self._active = self._loop.time()
            self._transport.write(data)

    async def drain(self) -> None:
        """Return when there is room for more, or no more is wanted."""
        while not (self._writable or self._closed):
            self._writer = self._loop.create_future()
            await self._writer

    def sent(self) -> None:
        """Say that the request is sent."""
        self._sent = True

    async def head(self) -> Head:
        """Return what the answer begins with.

        Raises:
            AppError: There is none.
            CallerGoneError: `give_up` was called with it.
        """
        while not self._headed:
            await self._more()
        return Head(self._status, self._headers)

    async def piece(self) -> tuple[bytes, bool]:
        """Return bytes of the body, as soon as there are any, and whether they are the last.

        Raises:
            AppError: The answer is cut off.
            CallerGoneError: `give_up` was called with it.
        """
        while not (self._pieces or self._complete):
            await self._more()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._paused and not self._closed:
            self._paused = False
            self._active = self._loop.time()
            self._transport.resume_reading()
        return data, self._complete

    def give_up(self, error: Exception) -> None:
        """Cut the connection, and raise the error where the answer is waited for."""
        if self._error is None:
            self._error = error
        self._transport.abort()
        self._wake()

    def end(self) -> None:
        """End the exchange; the connection is closed unless both messages went through whole."""
        self._timer.cancel()
        self._busy = False
        if self._closed:
            return
        if not (self._sent and self._complete):
            self._transport.abort()
        elif self._spoiled:
            self._transport.close()
        elif self._paused:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close it; for the pool."""
        self._transport.close()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _check(self) -> None:
        """Give up if it is the app that keeps us waiting, and it does so for too long."""
        now = self._loop.time()
        for_caller = self._paused or (self._writable and not self._sent)
        if for_caller or self._complete:
            self._active = now
        left = self._active + self._silence - now
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            problem = f"was silent for {self._silence:g} s"
            self.give_up(AppError(SILENT, problem, status=GATEWAY_TIMEOUT))

    def _break(self, problem: str) -> None:
        self.give_up(AppError(UNAVAILABLE, f"gave an answer that is no HTTP ({problem})"))

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes of an answer; without a question they are its end."""
        if not self._busy:
            self._transport.abort()  # nobody asked
            return
        self._active = self._loop.time()
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._break("it changes the protocol, which nobody asked for")
        except HttpParserError as error:
            if not self._complete:
                self._break(str(error))
            self._spoiled = True
        if not self._headed and self._fed > MAX_HEAD:
            self._break(f"its head has more than {MAX_HEAD} bytes")
        if self._waiting > HIGH_WATER and not self._paused and not self._complete:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that it is closed, which ends some answers and cuts off others."""
        self._closed = True
        self._gone(self)
        if not self._busy:
            return
        ended = self._headed and self._ends_with_connection and exc is None
        if self._error is None and ended:
            self._complete = self._spoiled = True
        if self._error is None and not self._complete:
            when = "in the middle of its answer" if self.heard else "before it answered"
            self._error = _closed(when)
        self._wake()

    def pause_writing(self) -> None:
        """Wait with the request: the app does not keep up."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on with the request."""
        self._writable = True
        self._active = self._loop.time()
        self._wake()

    # the parser's calls

    def on_message_begin(self) -> None:
        """Take note of an answer."""
        if self._complete:
            self._spoiled = True  # an answer to no question

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; not a trailer, of which nobody can be told any more."""
        if not self._headed:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take note that the head is whole."""
        if self._complete:
            return
        self._status = self._parser.get_status_code()
        if self._status < _FIRST_FINAL:
            self._interim = True
            return
        if self._status > _LAST_STATUS:
            self._break(f"{self._status} is no status")
            return
        self._headed = True
        self._ends_with_connection = not any(_tells_end(each) for each in self._headers)
        if not self._parser.should_keep_alive():
            self._spoiled = True
        if self._is_head or self._status in NO_BODY:
            self._complete = True

    def on_body(self, body: bytes) -> None:
        """Take bytes of the body."""
        if self._complete:
            self._spoiled = True
            return
        self._pieces.append(body)
        self._waiting += len(body)

    def on_message_complete(self) -> None:
        """Take note that the answer is whole."""
        if self._interim:
            self._interim = False
            self._headers = []
        else:
            self._complete = True


def _closed(when: str, *, maybe_done: bool = True) -> AppError:
    return AppError(UNAVAILABLE, f"closed the connection {when}", maybe_done=maybe_done)


def _tells_end(header: tuple[bytes, bytes]) -> bool:
    """Tell whether a header says where the body ends."""
    name, value = header
    return name == b"content-length" or (
        name == b"transfer-encoding" and value.lower().endswith(b"chunked")
    )
