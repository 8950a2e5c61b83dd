"""`RabbitMQStore`: the store on a RabbitMQ broker, without a ledger.

Differs by necessity: a broker carries messages and remembers nothing of them. It knows no job by
its id, so ids are not unique, and nothing can be cancelled or asked for; it does not tell how many
deliveries others hold; and it hands out again what was lost without saying how often.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from pika import exceptions

from mindtrace.core import SystemClock
from mindtrace.jobs.backend import (
    Capabilities,
    DeadRecord,
    Entry,
    JobRecord,
    Queue,
    QueueOptions,
    QueueSpec,
    QueueStats,
)
from mindtrace.jobs.errors import (
    QueueNotFoundError,
    QueueTypeMismatchError,
    UnsupportedByBackendError,
)
from mindtrace.jobs_rabbitmq.dead import Graveyard
from mindtrace.jobs_rabbitmq.directory import Directory, Listed
from mindtrace.jobs_rabbitmq.holder import LEDGER, RabbitHolder
from mindtrace.jobs_rabbitmq.link import Link
from mindtrace.jobs_rabbitmq.message import MOST_PRIORITY, envelope_of
from mindtrace.jobs_rabbitmq.moving import BrokerInlet, BrokerOutlet
from mindtrace.jobs_rabbitmq.names import directory
from mindtrace.jobs_rabbitmq.publisher import Publisher
from mindtrace.jobs_rabbitmq.sending import Parcel, Sender, declare, delay_queues
from mindtrace.jobs_rabbitmq.trouble import PRECONDITION_FAILED, code_of
from mindtrace.jobs_rabbitmq.wire import Connection, Wire, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mindtrace.jobs.backend import Delivery, Inlet, Outlet
    from mindtrace.jobs_rabbitmq.address import Address
    from mindtrace.jobs_rabbitmq.names import Names


class RabbitMQStore:
    """A `Store` on a broker. Publishing returns when the broker has confirmed.

    There are two connections, since a broker in need of memory stops reading from those that
    publish: what consumers acknowledge must get through all the same.
    """

    backend = "rabbitmq"
    capabilities = Capabilities(
        queue_types=("fifo", "priority"),
        job_identity=False,
        exact_counts=False,
        released_jobs_keep_their_place=False,
    )

    def __init__(self, address: Address) -> None:
        self.address = address.shown
        self.location = address
        self.now = SystemClock().now
        self.holders: weakref.WeakSet[RabbitHolder] = weakref.WeakSet()
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._publishing = Link(self.location, "publisher")
        self._consuming = Link(self.location, "consumer")
        publisher = Publisher(self._publishing)
        self._directory = Directory(self._publishing, publisher, self.location.namespace)
        self._sender = Sender(self._publishing, publisher, self._directory)
        self._graveyard = Graveyard(self._publishing, self._sender)

    def _here(self) -> None:
        """Begin anew in a forked child: its parent's connections are not its own."""
        if self._pid != os.getpid():
            self.holders = weakref.WeakSet()
            self._open()

    @property
    def consuming(self) -> Link:
        """The connection that consumers have their channels on."""
        self._here()
        return self._consuming

    @property
    def publishing(self) -> Link:
        """The connection for everything else."""
        self._here()
        return self._publishing

    @property
    def directory(self) -> Directory:
        """The list of the queues."""
        self._here()
        return self._directory

    @property
    def sender(self) -> Sender:
        """What sends jobs."""
        self._here()
        return self._sender

    # queues

    def declare_queue(self, spec: QueueSpec) -> bool:
        """Make the queue exist and return whether this call made it."""
        return self.declare(spec)

    def declare(
        self, spec: QueueSpec, *, max_priority: int | None = None, quorum: bool | None = None
    ) -> bool:
        """Do the same, with what only this backend has.

        Args:
            spec: the queue; a stack is refused.
            max_priority: the highest priority, 255 unless said; it cannot be changed later.
            quorum: whether the broker replicates the queue; None takes it as it is.
        """
        if spec.queue_type == "stack":
            instead = "Use fifo or priority, or a Local or Redis backend for stacks."
            raise UnsupportedByBackendError("stacks", self.backend, instead)
        names = self.sender.names(spec.name)
        created = False

        async def add(connection: Connection, queues: dict[str, Listed]) -> bool:
            nonlocal created
            before = queues.get(spec.name)
            after = _listed(spec, before, max_priority, quorum=quorum)
            await _declared(connection, spec.name, names, after)
            queues[spec.name] = after
            created = before is None
            return after != before

        self.directory.change(add)
        return created

    def delete_queue(self, name: str) -> None:
        """Remove the queue with all it has; deliveries still held become stale."""
        names = self.sender.names(name)

        async def remove(connection: Connection, queues: dict[str, Listed]) -> bool:
            if name not in queues:
                raise QueueNotFoundError(name, queues)
            listed = queues.pop(name)
            async with await Wire.open(connection) as wire:
                for each in (names.main, names.lost, names.dead, *delay_queues(names, listed)):
                    await wire.delete(each)
            return True

        self.directory.change(remove)
        for holder in list(self.holders):
            holder.forget(name)

    def holder_of(self, delivery: Delivery) -> RabbitHolder | None:
        """Return the holder of this client that has a delivery now."""
        return next((each for each in list(self.holders) if each.has(delivery)), None)

    def delete_namespace(self) -> None:
        """Remove every queue of the namespace, and the list of them."""
        for name in self.queues():
            self.delete_queue(name)
        listing = directory(self.location.namespace)

        async def remove(connection: Connection) -> None:
            async with await Wire.open(connection) as wire:
                await wire.delete(listing)

        self.publishing.call(remove)

    def queues(self) -> dict[str, Queue]:
        """Return every queue by name."""
        return {name: each.queue(name) for name, each in self.directory.read().items()}

    def purge(self, name: str) -> int:
        """Remove ready and delayed jobs and return how many; leased and dead ones stay."""
        names, listed = self._found(name)

        async def purged(connection: Connection) -> int:
            total = 0
            for each in (names.main, names.lost, *delay_queues(names, listed)):
                if await count(connection, each) is not None:
                    async with await Wire.open(connection) as wire:
                        total += await wire.purge(each)
            return total

        return self.publishing.call(purged)

    def stats(self, name: str) -> QueueStats:
        """Count what the broker tells.

        Differs by necessity: `leased` knows the deliveries of this client only; `ready` counts
        expired jobs that wait behind others; nothing tells how old the oldest job is.
        """
        names, listed = self._found(name)

        async def counted(connection: Connection) -> tuple[int, int, int]:
            ready = await _total(connection, (names.main, names.lost))
            delayed = await _total(connection, delay_queues(names, listed))
            return ready, delayed, await _total(connection, (names.dead,))

        ready, delayed, dead = self.publishing.call(counted)
        leased = sum(each.count(name) for each in list(self.holders))
        return QueueStats(name, listed.queue_type, ready, delayed, leased, dead, None)

    def _found(self, name: str) -> tuple[Names, Listed]:
        queues = self.directory.read()
        if name not in queues:
            raise QueueNotFoundError(name, queues)
        return self.sender.names(name), queues[name]

    # jobs

    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        """Add entries and return each one's id once the broker has confirmed all of them.

        Differs by necessity: a broker confirms message by message. After
        `BackendUnavailableError` some of a batch may be there, and repeating the call publishes
        them twice.
        """
        self.check(queue, entries)
        now = self.now()
        parcels = [Parcel(envelope_of(each, now), each.body, each.delay) for each in entries]
        if parcels:
            self.sender.send(queue, parcels, now)
        return [each.id for each in entries]

    def check(self, queue: str, entries: Sequence[Entry]) -> None:
        """Refuse what the broker cannot keep, before anything is sent."""
        _check(entries, self.sender.listed(queue), self.backend)

    def holder(self) -> RabbitHolder:
        """Return a new, living hold on this store: a channel of its own."""
        self._here()
        holder = RabbitHolder(self)
        self.holders.add(holder)
        return holder

    def dead_letters(self, queue: str, *, limit: int, after: str | None) -> list[DeadRecord]:
        """Return up to `limit` dead letters, oldest death first, those after the given job id."""
        self._found(queue)
        return self._graveyard.look(queue, limit, after)

    def requeue_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Make dead letters ready again with fresh counters.

        Differs by necessity: a crash within may leave a job in both places, in neither never.
        """
        self._found(queue)
        return self._graveyard.requeue(queue, job_ids, self.now())

    def discard_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Remove dead letters for good and return how many."""
        self._found(queue)
        return self._graveyard.discard(queue, job_ids)

    def outlet(self, queue: str) -> Outlet:
        """Return the way out of a queue."""
        return BrokerOutlet(self, queue)

    def inlet(self, queue: str) -> Inlet:
        """Return the way into a queue."""
        return BrokerInlet(self, queue)

    # what a broker does not know

    def cancel(self, job_id: str) -> NoReturn:
        """Refuse: a broker does not find a job by its id."""
        del job_id
        raise UnsupportedByBackendError("cancelling a job", self.backend, LEDGER)

    def record(self, job_id: str) -> JobRecord | None:
        """Refuse: a broker does not find a job by its id."""
        del job_id
        raise UnsupportedByBackendError("the status of a job", self.backend, LEDGER)

    def records(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Refuse: a broker does not find a job by its id."""
        del job_ids
        raise UnsupportedByBackendError("the status of jobs", self.backend, LEDGER)

    def wait_finished(self, job_id: str, wait: float) -> JobRecord | None:
        """Refuse: a broker keeps no results."""
        del job_id, wait
        raise UnsupportedByBackendError("the result of a job", self.backend, LEDGER)

    def close(self) -> None:
        """Close the connections. What holders of it have comes back as lost."""
        self._here()
        for holder in list(self.holders):
            holder.abandon()
        self._consuming.close()
        self._publishing.close()


def _listed(
    spec: QueueSpec, before: Listed | None, max_priority: int | None, *, quorum: bool | None
) -> Listed:
    """Return a queue as it is to be listed."""
    if before is None:
        kind = spec.queue_type or ("fifo" if max_priority is None else "priority")
        highest = (max_priority or MOST_PRIORITY) if kind == "priority" else None
        return Listed(kind, spec.options or QueueOptions(), bool(quorum), highest)
    if spec.queue_type not in (None, before.queue_type):
        raise QueueTypeMismatchError(spec.name, before.queue_type, str(spec.queue_type))
    if quorum not in (None, before.quorum):
        found, wanted = ("quorum", "classic") if before.quorum else ("classic", "quorum")
        raise QueueTypeMismatchError(spec.name, found, wanted)
    if max_priority not in (None, before.max_priority):
        found, wanted = f"max_priority={before.max_priority}", f"max_priority={max_priority}"
        raise QueueTypeMismatchError(spec.name, found, wanted)
    return before if spec.options is None else replace(before, options=spec.options)


async def _declared(connection: Connection, name: str, names: Names, listed: Listed) -> None:
    try:
        await declare(connection, names, listed)
    except exceptions.ChannelClosedByBroker as error:
        if code_of(error) != PRECONDITION_FAILED:
            raise
        raise QueueTypeMismatchError(name, "differently declared", listed.queue_type) from error


async def _total(connection: Connection, queues: Iterable[str]) -> int:
    return sum([await count(connection, each) or 0 for each in queues])


def _check(entries: Sequence[Entry], listed: Listed, backend: str) -> None:
    """Refuse what the broker cannot keep, before anything is sent."""
    for each in entries:
        if each.dedup_key is not None:
            raise UnsupportedByBackendError("dedup keys", backend, LEDGER)
        if listed.max_priority is not None and not 0 <= each.priority <= listed.max_priority:
            message = (
                f"the queue takes priorities from 0 to {listed.max_priority}, not {each.priority}"
            )
            raise ValueError(message)
