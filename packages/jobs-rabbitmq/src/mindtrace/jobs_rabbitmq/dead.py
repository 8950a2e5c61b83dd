"""Dead letters of a queue: a queue of the broker, read by taking all and giving back the rest."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mindtrace.jobs.backend import DeadRecord, Failure
from mindtrace.jobs_rabbitmq import names as naming
from mindtrace.jobs_rabbitmq.directory import lock
from mindtrace.jobs_rabbitmq.message import Envelope, exhume, read
from mindtrace.jobs_rabbitmq.sending import Parcel
from mindtrace.jobs_rabbitmq.wire import Connection, Wire

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Self

    from mindtrace.jobs_rabbitmq.link import Link
    from mindtrace.jobs_rabbitmq.sending import Sender

AT_ONCE = 200
"""Letters taken in one round trip."""


class Letter(NamedTuple):
    """A dead letter with the message that it is."""

    tag: int
    envelope: Envelope
    body: str
    failure: Failure
    died_at: float

    def record(self, queue: str) -> DeadRecord:
        """Return it as the protocol has it."""
        last = self.envelope._replace(delivery=self.envelope.delivery - 1)
        return DeadRecord(last.handed_out(self.body, queue), self.failure, self.died_at)


class Graveyard:
    """The dead letters of the queues of one namespace. Thread-safe.

    Whoever looks has all of them for that moment; a lock keeps others out, who would see too few.
    """

    def __init__(self, link: Link, sender: Sender) -> None:
        self._link = link
        self._sender = sender
        self._mutex = threading.Lock()

    def look(self, queue: str, limit: int, after: str | None) -> list[DeadRecord]:
        """Return a page of dead letters; an `after` that is not among them means the first page."""
        with self._mutex, self._opened(queue) as letters:
            place = 0
            if after is not None:
                ids = [each.envelope.id for each in letters.read()]
                place = ids.index(after) + 1 if after in ids else 0
            return [each.record(queue) for each in letters.read(place + limit)[place:]]

    def discard(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Remove letters for good; return how many."""
        with self._mutex, self._opened(queue) as letters:
            chosen = letters.chosen(job_ids)
            letters.remove(chosen)
        return len(chosen)

    def requeue(self, queue: str, job_ids: Sequence[str] | None, now: float) -> int:
        """Send letters to their queue again; each is removed when its job is safe there."""
        with self._mutex, self._opened(queue) as letters:
            chosen = letters.chosen(job_ids)
            if chosen:
                parcels = [Parcel(each.envelope.fresh(now), each.body) for each in chosen]
                self._sender.send(queue, parcels, now)
                letters.remove(chosen)
        return len(chosen)

    @contextmanager
    def _opened(self, queue: str) -> Generator[Letters]:
        dead = self._sender.names(queue).dead
        link = self._link
        letters = link.call(lambda connection: Letters.open(connection, dead, link))
        try:
            yield letters
        finally:
            link.call(lambda _: letters.close())


class Letters:
    """The dead letters of one queue, taken out while somebody looks."""

    def __init__(self, lock: Wire, wire: Wire, queue: str, link: Link) -> None:
        self._lock = lock
        self._wire = wire
        self._queue = queue
        self._link = link
        self._letters: list[Letter] = []
        self._is_all = False

    @classmethod
    async def open(cls, connection: Connection, queue: str, link: Link) -> Self:
        """Lock a queue of dead letters."""
        locked = await lock(connection, naming.lock(queue), link)
        return cls(locked, await Wire.open(connection), queue, link)

    def read(self, count: int | None = None) -> list[Letter]:
        """Return the first letters, or all."""
        while not self._is_all and (count is None or len(self._letters) < count):
            self._link.call(lambda _: self._read_on())
        return self._letters[:count]

    def chosen(self, job_ids: Sequence[str] | None) -> list[Letter]:
        """Return the letters of these jobs, or all."""
        if job_ids is None:
            return self.read()
        wanted = set(job_ids)
        return [each for each in self.read() if each.envelope.id in wanted] if wanted else []

    def remove(self, letters: Sequence[Letter]) -> None:
        """Remove letters for good."""
        if letters:
            self._link.call(lambda _: self._remove([each.tag for each in letters]))

    async def close(self) -> None:
        """Give back what was not removed, in its order, and let others look."""
        await self._wire.close_and_wait()
        if self._lock.closed is None:
            await self._lock.delete(naming.lock(self._queue))
            self._lock.close()

    async def _read_on(self) -> None:
        found = await self._wire.get(self._queue, AT_ONCE)
        self._is_all = len(found) < AT_ONCE
        for message in found:
            body, failure, died_at = exhume(message.body)
            self._letters.append(
                Letter(message.tag, read(message, died_at), body, failure, died_at)
            )

    async def _remove(self, tags: list[int]) -> None:
        self._wire.ack(tags, [each.tag for each in self._letters])
        await self._wire.settled()
