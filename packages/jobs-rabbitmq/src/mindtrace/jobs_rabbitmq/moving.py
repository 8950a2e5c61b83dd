"""The way out of a queue of a broker and the way in, for moving jobs to and from other stores.

To look at messages is to take them out, and what is given back comes redelivered, as after a loss.
So the list of queues notes when a queue was looked at: a message sent before that, and redelivered,
is no lost job.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mindtrace.jobs.backend import Failure, StoredJob
from mindtrace.jobs.errors import QueueNotFoundError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs_rabbitmq.frames import Posting, encode
from mindtrace.jobs_rabbitmq.message import ENTRIES, Envelope, exhume, read, text_of
from mindtrace.jobs_rabbitmq.sending import Parcel, delay_queues, posting
from mindtrace.jobs_rabbitmq.wire import Connection, Wire, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs_rabbitmq.directory import Listed
    from mindtrace.jobs_rabbitmq.message import Message
    from mindtrace.jobs_rabbitmq.store import RabbitMQStore

AT_ONCE = 200
"""Messages looked at in one round trip."""


class BrokerOutlet:
    """The way out: what was taken is out of the queue until `close` gives it back.

    It reads the whole queue at the first `take`, and keeps it in memory.
    """

    def __init__(self, store: RabbitMQStore, queue: str) -> None:
        self._store = store
        self._names = store.sender.names(queue)
        self._listed, self._looked_before = note_look(store, queue)
        self._wire = store.publishing.call(Wire.open)
        self._messages: dict[str, Message] = {}
        self._jobs: list[StoredJob] | None = None

    def take(self, limit: int) -> list[StoredJob]:
        """Return up to `limit` of the next jobs."""
        if self._jobs is None:
            self._jobs = self._store.publishing.call(self._read)
        taken, self._jobs = self._jobs[:limit], self._jobs[limit:]
        return taken

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Remove jobs that were taken; nobody else could get them meanwhile."""
        gone: list[StoredJob] = []
        tags: list[int] = []
        for each in jobs:
            message = self._messages.pop(str(each.entry), None)
            if message is None:
                gone.append(each)
            else:
                tags.append(message.tag)
        if tags:
            self._store.publishing.call(lambda _: self._acked(tags))
        return gone

    def close(self) -> None:
        """Give back what was not removed, in its order and with its counters."""
        self._store.publishing.call(self._give_back)

    async def _acked(self, tags: list[int]) -> None:
        held = [each.tag for each in self._messages.values()]
        self._wire.ack(tags, sorted([*tags, *held]))
        await self._wire.settled()

    async def _read(self, connection: Connection) -> list[StoredJob]:
        """Take everything out; delayed jobs first, which must not become due in between."""
        names = self._names
        jobs: list[StoredJob] = []
        dead: list[StoredJob] = []
        now = self._store.now()
        for queue in (*delay_queues(names, self._listed), names.main, names.lost, names.dead):
            if await count(connection, queue) is None:
                continue
            while found := await self._wire.get(queue, AT_ONCE):
                for message in found:
                    job = self._job(message, now)
                    if job.expires_at is not None and job.expires_at <= now and not job.failure:
                        continue  # it goes back, and ends where it is
                    self._messages[str(job.entry)] = message
                    (dead if job.state == JobState.DEAD else jobs).append(job)
        jobs.sort(key=lambda each: each.published_at)
        return jobs + dead

    def _job(self, message: Message, now: float) -> StoredJob:
        if message.source == self._names.dead:
            body, failure, died_at = exhume(message.body)
            return stored(read(message, now), body, now, failure, died_at)
        envelope = read(message, now)
        if message.redelivered and envelope.sent_at >= self._looked_before:
            number, lost = envelope.delivery + 1, envelope.lost + 1
            envelope = envelope.again(now, delivery=number, lost=lost)
        return stored(envelope, text_of(message.body), now)

    async def _give_back(self, connection: Connection) -> None:
        """Send anew what waited for consumers, in one step with taking out the old; for the rest
        it is enough to close the channel.
        """
        waiting = [
            each
            for each in sorted(self._messages.values(), key=lambda each: each.tag)
            if each.source in (self._names.main, self._names.lost)
        ]
        wire, now = self._wire, self._store.now()
        if waiting and wire.closed is None:
            await wire.call(wire.channel.tx_select)
            number, most = wire.channel.channel_number, connection.frame_max
            for at in range(0, len(waiting), AT_ONCE):
                part = waiting[at : at + AT_ONCE]
                postings = [self._again(each, now) for each in part]
                connection.send(b"".join([encode(each, number, most) for each in postings]))
                wire.ack([each.tag for each in part], ())
                await wire.call(wire.channel.tx_commit)
        await wire.close_and_wait()

    def _again(self, message: Message, now: float) -> Posting:
        envelope = read(message, now)
        if message.redelivered and envelope.sent_at >= self._looked_before:
            envelope = envelope._replace(delivery=envelope.delivery + 1, lost=envelope.lost + 1)
        parcel = Parcel(envelope.again(now), text_of(message.body))
        return posting(self._names, self._listed, parcel, now)


class BrokerInlet:
    """The way in. Which jobs wait there already is looked up once, when it is opened."""

    def __init__(self, store: RabbitMQStore, queue: str) -> None:
        self._store = store
        self._queue = queue
        found = store.stats(queue)
        any_there = found.ready or found.delayed or found.dead
        self._known = {each.id for each in self._everything()} if any_there else set[str]()

    def add(self, jobs: Sequence[StoredJob]) -> None:
        """Add jobs that are not there yet; safe when it returns."""
        now = self._store.now()
        fresh = {each.id: each for each in jobs if each.id not in self._known}
        if fresh:
            parcels = [parcel_of(each, now) for each in fresh.values()]
            self._store.sender.send(self._queue, parcels, now)
        self._known.update(fresh)

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Take back jobs that were added and are still as they were."""
        wanted = {(each.id, each.state == JobState.DEAD) for each in jobs}
        there = self._everything(but=wanted)
        found = {(each.id, each.state == JobState.DEAD) for each in there} & wanted
        self._known -= {job_id for job_id, _ in found}
        return [each for each in jobs if (each.id, each.state == JobState.DEAD) not in found]

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _everything(self, but: set[tuple[str, bool]] | None = None) -> list[StoredJob]:
        """Return all jobs that are not in anybody's hands, and remove some of them."""
        outlet = BrokerOutlet(self._store, self._queue)
        try:
            there = outlet.take(sys.maxsize)
            outlet.remove(
                [each for each in there if (each.id, each.failure is not None) in (but or ())]
            )
        finally:
            outlet.close()
        return there


def note_look(store: RabbitMQStore, queue: str) -> tuple[Listed, float]:
    """Note that a queue is looked at from now on; return it, and when it was looked at before.

    Raises:
        QueueNotFoundError: there is none of that name (any more).
    """
    now = store.now()
    before = 0.0

    async def note(_: Connection, queues: dict[str, Listed]) -> bool:
        nonlocal before
        if queue not in queues:
            raise QueueNotFoundError(queue, queues)
        before = queues[queue].looked_at
        queues[queue] = replace(queues[queue], looked_at=now)
        return True

    return store.directory.change(note)[queue], before


def stored(
    envelope: Envelope,
    body: str,
    now: float,
    failure: Failure | None = None,
    died_at: float | None = None,
) -> StoredJob:
    """Return a message as the job that it is."""
    due = envelope.due_at if envelope.due_at is not None and envelope.due_at > now else None
    state = JobState.DEAD if failure else JobState.READY if due is None else JobState.DELAYED
    return StoredJob(
        envelope.entry,
        envelope.id,
        body,
        state,
        envelope.priority,
        envelope.published_at,
        due,
        envelope.expires_at,
        envelope.keep,
        envelope.delivery,
        envelope.attempts,
        envelope.lost,
        failure,
        died_at,
    )


def parcel_of(job: StoredJob, now: float) -> Parcel:
    """Return a job of another store as it is sent here."""
    delay = max(0.0, job.due_at - now) if job.state == JobState.DELAYED and job.due_at else 0.0
    envelope = Envelope(
        job.id,
        ENTRIES.new(),
        job.published_at,
        job.delivery,
        job.attempts,
        job.lost,
        job.priority,
        job.keep,
        job.expires_at,
        now + delay if delay else None,
        now,
    )
    failure = job.failure if job.state == JobState.DEAD else None
    if job.state == JobState.DEAD and failure is None:
        failure = Failure("failed", "Unknown", "the other store did not say why it died")
    return Parcel(envelope, job.body, delay, failure, job.died_at)
