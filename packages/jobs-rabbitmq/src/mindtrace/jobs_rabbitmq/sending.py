"""Where a job goes that is sent: to its queue, to the lost ones, to a delay queue, to the dead.

A delay queue holds jobs of one length of delay, and the broker moves each on to the job's queue
when its time is over. There is one for each length, because the broker looks only at the head of a
queue for messages whose time is over. It is declared anew at each use, and removes itself a minute
after the last; but a look at its count is a use to the broker, so the list of queues says as well
when a length was last in use, and those that have not been for long are removed by hand.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from pika import exceptions

from mindtrace.jobs.errors import QueueNotFoundError
from mindtrace.jobs_rabbitmq import message
from mindtrace.jobs_rabbitmq.frames import Posting
from mindtrace.jobs_rabbitmq.names import Names
from mindtrace.jobs_rabbitmq.trouble import PRECONDITION_FAILED, code_of
from mindtrace.jobs_rabbitmq.wire import Connection, Wire, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mindtrace.jobs.backend import Failure
    from mindtrace.jobs_rabbitmq.directory import Directory, Listed
    from mindtrace.jobs_rabbitmq.link import Link
    from mindtrace.jobs_rabbitmq.message import Envelope
    from mindtrace.jobs_rabbitmq.publisher import Publisher

FINE, COARSE, FINE_BELOW = 50, 500, 10_000
"""Milliseconds that delays are rounded up to: by 50 below 10 s, by 500 above, so that delays drawn
at random do not make a queue each."""

MANY = 32
"""Lengths of delay of one queue from which on those that are not in use any more are looked for."""

LINGER = 60_000
"""Milliseconds for which an unused delay queue stays after its last job has left it."""

TRUSTED = 300.0
"""Seconds for which a length that was said to be in use may be used without saying so again. It is
looked at for removal after twice that: clocks may differ by as much."""

SAFELY_ON: dict[str, int | str] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
"""A replicated delay queue, which keeps a job until the queue that it moves on to has it; the
broker asks for the last of these arguments where the second is said."""


class Parcel(NamedTuple):
    """A job on its way to a queue."""

    envelope: Envelope
    body: str
    delay: float = 0.0
    failure: Failure | None = None
    """Set for a dead letter."""
    died_at: float | None = None
    """When it died; None for now."""


def length_of(delay: float) -> int:
    """Return the milliseconds of the delay queue for a delay in seconds."""
    exact = delay * 1000
    step = FINE if exact <= FINE_BELOW else COARSE
    # three times 0.05 is a little more than 0.15
    return max(step, ceil(round(exact / step, 6)) * step)


def milliseconds_left(until: float, now: float) -> int:
    """Return how long until a moment, for the broker; never negative."""
    return max(0, ceil((until - now) * 1000))


class Sender:
    """Sends jobs to the queues of one namespace. Thread-safe."""

    def __init__(self, link: Link, publisher: Publisher, directory: Directory) -> None:
        self._link = link
        self._publisher = publisher
        self._directory = directory
        self._namespace = link.address.namespace

    def names(self, queue: str) -> Names:
        """Return the broker's names for a job queue."""
        return Names.of(self._namespace, queue)

    def listed(self, queue: str) -> Listed:
        """Return what is known of a queue, looking for it if nothing is."""
        found = self._directory.known.get(queue) or self._directory.read().get(queue)
        if found is None:
            raise QueueNotFoundError(queue, self._directory.known)
        return found

    def send(self, queue: str, parcels: Sequence[Parcel], now: float) -> None:
        """Send jobs, and return when the broker has confirmed all of them.

        Raises:
            QueueNotFoundError: the queue is gone; none of the jobs is anywhere.
            BackendUnavailableError: nothing is known of what was not confirmed.
        """
        listed, names = self.listed(queue), self.names(queue)
        lengths = {_length(each) for each in parcels} - {0}
        if lengths:
            self._prepare(queue, listed, lengths, now)
        postings = [posting(names, listed, each, now) for each in parcels]
        missing = self._publisher.publish(postings)
        again = [each for each in postings if each.queue in missing - {names.main}]
        there = self._directory.read().get(queue) if again else None
        if there is not None:
            # one of the queues beside it was removed: the lost and dead ones by somebody's hand
            self._prepare(queue, there, lengths, now)
            self._link.call(lambda connection: declare(connection, names, there))
            missing = self._publisher.publish(again)
        if missing:
            raise QueueNotFoundError(queue, self._directory.read().keys() - {queue})

    def _prepare(self, queue: str, listed: Listed, lengths: set[int], now: float) -> None:
        """Make the delay queues exist, and have them in the list so that others find them."""
        names = self.names(queue)
        if any(listed.delays.get(each, 0.0) < now - TRUSTED for each in lengths):

            async def add(connection: Connection, queues: dict[str, Listed]) -> bool:
                if queue not in queues:
                    return False
                before = queues[queue]
                if len(before.delays) >= MANY:
                    before = await _without_unused(connection, names, before, now)
                queues[queue] = before.with_delays(lengths, now)
                return True

            self._directory.change(add)
        quorum = listed.quorum
        self._link.call(lambda connection: _declare_delays(connection, names, lengths, quorum))


def _length(parcel: Parcel) -> int:
    """Return the length of a delay; negative if the job expires before it is due, 0 for none."""
    if parcel.failure is not None or parcel.delay <= 0:
        return 0
    expires, due = parcel.envelope.expires_at, parcel.envelope.due_at
    if expires is not None and due is not None and expires <= due:
        return -max(1, length_of(expires - due + parcel.delay))
    return length_of(parcel.delay)


def posting(names: Names, listed: Listed, parcel: Parcel, now: float) -> Posting:
    """Return the message for a job, addressed."""
    envelope = parcel.envelope
    body, expiration = parcel.body, None
    length = _length(parcel)
    if parcel.failure is not None:
        queue = names.dead
        died_at = now if parcel.died_at is None else parcel.died_at
        body = message.bury(body, parcel.failure, died_at)
        if listed.options.dead_letter_ttl is not None:
            expiration = milliseconds_left(died_at + listed.options.dead_letter_ttl, now)
    elif length:
        queue = _delay_queue(names, length)
    else:
        queue = names.lost if envelope.lost else names.main
        if envelope.expires_at is not None:
            expiration = milliseconds_left(envelope.expires_at, now)
    priority = None
    if listed.max_priority is not None:
        priority = min(max(envelope.priority, 0), listed.max_priority)
    return Posting(queue, envelope.id, envelope.header(), body.encode(), priority, expiration)


async def declare(connection: Connection, names: Names, listed: Listed) -> None:
    """Make a job queue and those beside it exist in the broker."""
    kind: dict[str, str | int] = {"x-queue-type": "quorum"} if listed.quorum else {}
    first = kind if listed.max_priority is None else {"x-max-priority": listed.max_priority}
    async with await Wire.open(connection) as wire:
        await wire.declare(names.main, first)
        await wire.declare(names.lost, kind)
        await wire.declare(names.dead, kind)


async def _declare_delays(
    connection: Connection,
    names: Names,
    lengths: Iterable[int],
    quorum: bool,  # noqa: FBT001 - internal
) -> None:
    async with await Wire.open(connection) as wire:
        for length in lengths:
            arguments: dict[str, int | str] = {
                "x-message-ttl": abs(length),
                "x-expires": abs(length) + LINGER,
            }
            if quorum:
                arguments |= SAFELY_ON
            if length > 0:
                arguments |= {
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": names.main,
                }
                await wire.declare(names.delay(length), arguments)
            else:
                await wire.declare(names.doomed(-length), arguments)


async def _without_unused(
    connection: Connection, names: Names, listed: Listed, now: float
) -> Listed:
    """Return a queue without the lengths that nobody uses, whose delay queues are removed."""
    kept = dict(listed.delays)
    for length, used_at in listed.delays.items():
        if used_at + abs(length) / 1000 + 2 * TRUSTED < now and await _remove_if_empty(
            connection, _delay_queue(names, length), listed
        ):
            del kept[length]
    return replace(listed, delays=kept)


async def _remove_if_empty(connection: Connection, name: str, listed: Listed) -> bool:
    if listed.quorum:
        # the broker cannot do it in one step; nobody sends there without the lock that we hold
        if await count(connection, name):
            return False
        async with await Wire.open(connection) as wire:
            await wire.delete(name)
        return True
    wire = await Wire.open(connection)  # of its own: a queue that is not empty closes it
    try:
        await wire.delete(name, if_empty=True)
    except exceptions.ChannelClosedByBroker as error:
        if code_of(error) != PRECONDITION_FAILED:
            raise
        return False
    wire.close()
    return True


def _delay_queue(names: Names, length: int) -> str:
    return names.delay(length) if length > 0 else names.doomed(-length)


def delay_queues(names: Names, listed: Listed) -> list[str]:
    """Return the broker's queues in which delayed jobs of a queue may be."""
    return [_delay_queue(names, each) for each in sorted(listed.delays)]
