"""Publishing with the broker's confirmation, many at a time.

A message is safe once the broker confirmed it: it is persistent, and on a durable queue. Frames are
made in the caller's thread and sent by the link's.
"""

from __future__ import annotations

import asyncio
from _thread import LockType, allocate_lock
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pika import spec

from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs_rabbitmq.connection import resolve
from mindtrace.jobs_rabbitmq.frames import Posting, encode
from mindtrace.jobs_rabbitmq.trouble import translated
from mindtrace.jobs_rabbitmq.wire import Connection, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from mindtrace.jobs_rabbitmq.link import Link

AT_ONCE = 1000
BYTES_AT_ONCE = 1 << 20
"""Messages, and bytes, that are sent before the broker's word is waited for."""

PARTS_UNDER_WAY = 2
"""Such parts that are under way at a time."""

CONFIRM_WITHIN = 30.0
"""Seconds in which the broker must have confirmed what was sent."""


class Batch:
    """Messages that are under way; `over` is called once each of them has its answer."""

    __slots__ = ("error", "frames", "missing", "over", "queues", "refused", "returned")

    def __init__(self, postings: Sequence[Posting], over: Callable[[], object]) -> None:
        self.frames = b""
        self.queues = {each.queue for each in postings}
        self.missing = len(postings)
        self.over = over
        self.returned: set[str] = set()
        """Queues that do not exist."""
        self.refused = 0
        self.error: BaseException | None = None

    def answered(self, *, refused: bool) -> None:
        """One more has its answer."""
        self.refused += refused
        self.missing -= 1
        if self.missing == 0:
            self.over()

    def fail(self, error: BaseException) -> None:
        """No answer will come."""
        if self.missing:
            self.missing, self.error = 0, error
            self.over()


class Publisher:
    """Publishes on one link. Thread-safe."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: _Confirming | None = None
        self._opening: asyncio.Lock | None = None

    def publish(self, postings: Sequence[Posting]) -> set[str]:
        """Publish, and return when all are confirmed; the names of queues that were not there.

        What was sent to those is nowhere; all else is safe.

        Raises:
            BackendUnavailableError: nothing is known of what was not confirmed.
        """
        missing: set[str] = set()
        under_way: deque[tuple[Batch, LockType, _Confirming]] = deque()
        for part in _parts(postings):
            under_way.append(self._start(part))
            if len(under_way) == PARTS_UNDER_WAY:
                missing |= self._finish(*under_way.popleft())
        while under_way:
            missing |= self._finish(*under_way.popleft())
        return missing

    async def send(self, connection: Connection, postings: Sequence[Posting]) -> None:
        """Do the same in the link's own thread, for a few messages to a queue that is there."""
        channel = await self._opened(connection)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch = Batch(postings, lambda: resolve(future, None))
        batch.frames = channel.encode(postings)
        channel.send(batch)
        try:
            await asyncio.wait_for(future, CONFIRM_WITHIN)
        except TimeoutError:
            self._give_up(channel)
            raise self._silence() from None
        self._check(batch)

    def _start(self, postings: list[Posting]) -> tuple[Batch, LockType, _Confirming]:
        """Have messages sent; the lock is released when the batch is over."""
        channel = self._channel
        if channel is None or channel.wire.closed is not None or not self._link.belongs_here:
            channel = self._link.connect(self._opened)
        lock = allocate_lock()
        lock.acquire()
        batch = Batch(postings, lock.release)
        batch.frames = channel.encode(postings)
        self._link.post(lambda: channel.send(batch))
        return batch, lock, channel

    def _finish(self, batch: Batch, lock: LockType, channel: _Confirming) -> set[str]:
        """Wait until a batch is over."""
        if not lock.acquire(timeout=CONFIRM_WITHIN):
            self._give_up(channel)
            raise self._silence()
        self._check(batch)
        return batch.returned

    def _give_up(self, channel: _Confirming) -> None:
        """Close a channel on which no word came; the next publish opens another."""
        if self._channel is channel:
            self._channel = None
        self._link.post(channel.wire.close)

    def _check(self, batch: Batch) -> None:
        if batch.error is not None:
            raise translated(batch.error, self._link.address) from batch.error
        if batch.refused:
            reason = f"it refused {batch.refused} messages; see the broker's log"
            raise BackendUnavailableError("rabbitmq", self._link.address.shown, reason)

    def _silence(self) -> BackendUnavailableError:
        reason = f"it did not confirm within {CONFIRM_WITHIN:g} s"
        if self._link.blocked:
            reason = "it blocks publishing, for its memory or disk alarm is on; free some"
        return BackendUnavailableError("rabbitmq", self._link.address.shown, reason)

    async def _opened(self, connection: Connection) -> _Confirming:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._channel is None or self._channel.wire.closed is not None:
                self._channel = await _Confirming.open(connection)
            return self._channel


class _Confirming:
    """A channel in confirm mode, and what is under way on it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._number = wire.channel.channel_number
        self._frame_max = wire.connection.frame_max
        self._sent = 0
        self._under_way: dict[int, Batch] = {}
        """The batch of each message by its number, the oldest first."""

    @classmethod
    async def open(cls, connection: Connection) -> Self:
        """Open a channel and switch it to confirm mode."""
        self = cls(await Wire.open(connection))
        self.wire.on_closed = self._closed
        self.wire.channel.add_on_return_callback(self._returned)
        await self.wire.confirm(self._on_confirm)
        return self

    def encode(self, postings: Sequence[Posting]) -> bytes:
        """Return the frames of messages; in any thread."""
        number, most = self._number, self._frame_max
        return b"".join([encode(each, number, most) for each in postings])

    def send(self, batch: Batch) -> None:
        """Send a batch; in the link's thread."""
        if self.wire.closed is not None:
            batch.fail(self.wire.closed)
            return
        for _ in range(batch.missing):
            self._sent += 1
            self._under_way[self._sent] = batch
        self.wire.connection.send(batch.frames)

    def _on_confirm(self, method: Any) -> None:
        answer = method.method
        refused = isinstance(answer, spec.Basic.Nack)
        numbers = [answer.delivery_tag]
        if answer.multiple:
            # broker and channel count alike; some of these may have been confirmed one by one
            last = answer.delivery_tag
            numbers = list(takewhile(lambda number: number <= last, self._under_way))
        for number in numbers:
            self._under_way.pop(number).answered(refused=refused)

    def _returned(self, _: object, method: Any, __: object, ___: object) -> None:
        """No such queue: the broker says so before it confirms."""
        queue = method.routing_key
        for batch in dict.fromkeys(self._under_way.values()):
            if queue in batch.queues:
                batch.returned.add(queue)

    def _closed(self, reason: BaseException) -> None:
        batches, self._under_way = dict.fromkeys(self._under_way.values()), {}
        for batch in batches:
            batch.fail(reason)


def _parts(postings: Sequence[Posting]) -> Iterator[list[Posting]]:
    """Cut into what goes at once."""
    part: list[Posting] = []
    size = 0
    for each in postings:
        if part and (len(part) == AT_ONCE or size + len(each.body) > BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each.body)
    if part:
        yield part
