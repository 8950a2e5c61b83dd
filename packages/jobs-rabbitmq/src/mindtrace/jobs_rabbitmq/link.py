"""One connection to the broker, and the thread that owns it and does nothing else.

Because nothing else runs in that thread, heartbeats go out while a handler works. A lost
connection is made anew by the next call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import weakref
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs_rabbitmq.connection import Connection, resolve
from mindtrace.jobs_rabbitmq.trouble import translating

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from mindtrace.jobs_rabbitmq.address import Address

T = TypeVar("T")

ANSWER_WITHIN = 30.0
"""Seconds in which the broker must have answered a call."""

CLOSE_WITHIN = 3.0

PAUSES = (0.1, 0.3, 1.0)
"""Seconds between attempts to reach a broker that is away."""

# pika logs each failure, with tracebacks, before we see it; our own lines say it once. A level that
# somebody has set stays.
_pika = logging.getLogger("pika")
if _pika.level == logging.NOTSET:
    _pika.setLevel(logging.CRITICAL)

_links: weakref.WeakSet[Link] = weakref.WeakSet()
_forked: list[object] = []
"""What a child has of its parent's links: kept, so that nothing of it is ever finalised."""


class Link:
    """A connection that comes back. Thread-safe; the calls are coroutines that get it as argument.

    A forked child must not use its parent's link; see `belongs_here`.
    """

    def __init__(self, address: Address, purpose: str) -> None:
        self.address = address
        self._purpose = purpose
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._connecting: asyncio.Lock | None = None
        self._closed = False
        _links.add(self)

    @property
    def belongs_here(self) -> bool:
        """Whether this process made it."""
        return self._pid == os.getpid()

    @property
    def blocked(self) -> bool:
        """Whether the broker's memory or disk alarm stops publishing now."""
        return self._connection is not None and self._connection.blocked

    def call(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        """Run an operation on the connection and return its value.

        Raises:
            BackendUnavailableError: the broker cannot be reached, or does not answer in time; the
                connection is given up then.
        """
        with translating(self.address):
            loop = self._running()
            return self._wait(asyncio.run_coroutine_threadsafe(self._run(operation), loop))

    def connect(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        """Do the same, for an operation that may be repeated: a few times, with pauses."""
        for pause in PAUSES:
            try:
                return self.call(operation)
            except BackendUnavailableError as error:
                if not error.transient:
                    raise
            threading.Event().wait(pause * random.uniform(0.5, 1))  # noqa: S311 - not a secret
        return self.call(operation)

    def post(self, call: Callable[[], object]) -> None:
        """Have something called in the link's thread, soon, if that still runs."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Close the connection and end the thread. What it holds goes back to the broker."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not self.belongs_here or loop.is_closed():
            return
        with suppress(NotInTimeError, RuntimeError, BackendUnavailableError):
            asyncio.run_coroutine_threadsafe(self._close(), loop).result(CLOSE_WITHIN)
        self.post(loop.stop)
        if thread is not threading.current_thread():
            thread.join(CLOSE_WITHIN)

    def drop(self) -> None:
        """Give the connection up at once, as when the cable is pulled."""
        self.post(self._abort)

    def forget(self) -> None:
        """Let go of the socket in a child, without a word to the broker: it is the parent's."""
        _forked.extend((self._loop, self._connection, self._thread, self.__dict__.copy()))
        sock = None if self._connection is None else self._connection.descriptor()
        if sock is not None and sock.fileno() >= 0:
            with suppress(OSError):
                os.close(sock.detach())

    def _wait(self, future: Future[T]) -> T:
        try:
            return future.result(ANSWER_WITHIN)
        except NotInTimeError:
            if future.done():
                raise  # it is the operation's own
            future.cancel()
            self.drop()
            alarm = "; it blocks publishing: its memory or disk alarm is on" if self.blocked else ""
            reason = f"it did not answer within {ANSWER_WITHIN:g} s{alarm}"
            raise BackendUnavailableError("rabbitmq", self.address.shown, reason) from None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed or not self.belongs_here:
                reason = "this client was closed" if self._closed else "the process was forked"
                raise BackendUnavailableError(
                    "rabbitmq", self.address.shown, reason, transient=False
                )
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="mindtrace-rabbitmq", daemon=True
                )
                self._thread.start()
            return self._loop

    async def _run(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        return await operation(await self._connected())

    async def _connected(self) -> Connection:
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._connection is None or not self._connection.is_open:
                self._connection = await Connection.open(self.address, self._purpose, self._lost)
            return self._connection

    def _lost(self, reason: BaseException) -> None:
        del reason  # each channel tells those who wait on it
        self._connection = None

    def _abort(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            sock = connection.descriptor()
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(2)

    async def _close(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def closed(*_: object) -> None:
            resolve(over, None)

        connection.add_on_close_callback(closed)
        connection.close()
        await over


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _after_fork() -> None:
    for link in list(_links):
        link.forget()


os.register_at_fork(after_in_child=_after_fork)
