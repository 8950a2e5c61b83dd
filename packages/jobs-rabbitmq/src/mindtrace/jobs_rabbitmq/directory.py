"""Which queues there are, of what type, with which options: AMQP itself cannot be asked for that.

The list is one JSON text in one message of one durable queue. To look, a client takes the message
and gives it back; to change it, it puts another in its place. Both happen under a lock, an
exclusive queue, which the broker removes when the connection of its owner ends.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pika import exceptions

from mindtrace.jobs.backend import Queue, QueueOptions, QueueType
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs_rabbitmq import names
from mindtrace.jobs_rabbitmq.frames import Posting
from mindtrace.jobs_rabbitmq.trouble import LOCKED, NOT_FOUND, code_of
from mindtrace.jobs_rabbitmq.wire import Connection, Wire, count

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from mindtrace.jobs_rabbitmq.link import Link
    from mindtrace.jobs_rabbitmq.message import Message
    from mindtrace.jobs_rabbitmq.publisher import Publisher

PATIENCE = 10.0
"""Seconds to wait for others who look at the list or change it."""

BACK_WITHIN = 1.0
"""Seconds after which a list that is not there, under the lock, was never written."""

PAUSE = 0.003


@dataclass(frozen=True, slots=True)
class Listed:
    """A queue as the list has it.

    Attributes:
        quorum: whether the broker replicates it.
        max_priority: the highest priority of a priority queue.
        delays: lengths of delay, in milliseconds, for which there may be a delay queue now, each
            with when it was last said to be in use; negative lengths are of jobs that expire
            before they are due.
        looked_at: when its messages were last taken out to look at them. One that was sent before
            that and comes redelivered need not have been lost by a consumer.
    """

    queue_type: QueueType
    options: QueueOptions
    quorum: bool = False
    max_priority: int | None = None
    delays: dict[int, float] = field(default_factory=dict[int, float])
    looked_at: float = 0.0

    def queue(self, name: str) -> Queue:
        """Return it as the protocol has it."""
        return Queue(name, self.queue_type, self.options)

    def with_delays(self, lengths: Iterable[int], now: float) -> Listed:
        """Return it with lengths of delay that are in use now."""
        return replace(self, delays={**self.delays, **dict.fromkeys(lengths, now)})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "type": self.queue_type,
            "options": self.options.to_json(),
            "quorum": self.quorum,
            "max_priority": self.max_priority,
            "delays": self.delays,
            "looked_at": self.looked_at,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Listed:
        """Return what `to_json` wrote; what a later release adds is passed over."""
        return cls(
            values["type"],
            QueueOptions.from_json(values["options"]),
            values.get("quorum", False),
            values.get("max_priority"),
            {int(length): at for length, at in values.get("delays", {}).items()},
            values.get("looked_at", 0.0),
        )


@dataclass(slots=True)
class List:
    """The list at one moment; a change makes the version rise."""

    version: int = 0
    queues: dict[str, Listed] = field(default_factory=dict[str, Listed])

    def to_bytes(self) -> bytes:
        """Return the body of the message."""
        values = {name: each.to_json() for name, each in self.queues.items()}
        return json.dumps({"version": self.version, "queues": values}).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> List:
        """Return what `to_bytes` wrote."""
        found = json.loads(body)
        listed = {name: Listed.from_json(each) for name, each in found["queues"].items()}
        return cls(found["version"], listed)


class Directory:
    """The list of the queues of one namespace. Thread-safe."""

    def __init__(self, link: Link, publisher: Publisher, namespace: str) -> None:
        self._link = link
        self._publisher = publisher
        self._queue = names.directory(namespace)
        self._mutex = threading.Lock()  # the broker's lock does not keep our own threads apart
        self.known: dict[str, Listed] = {}
        """The queues as last seen."""

    def read(self) -> dict[str, Listed]:
        """Look, and return the queues by name."""
        with self._mutex:
            return self._link.connect(self._read)

    def change(
        self, change: Callable[[Connection, dict[str, Listed]], Awaitable[bool]]
    ) -> dict[str, Listed]:
        """Change the list: `change` alters the dict it is given and tells whether it did."""
        with self._mutex:
            return self._link.call(lambda connection: self._change(connection, change))

    async def _read(self, connection: Connection) -> dict[str, Listed]:
        found = List()
        if await count(connection, self._queue) is not None:
            async with self._locked(connection) as wire:
                taken, found = await self._take(wire)
                self._keep(wire, taken)
        self.known = found.queues
        return self.known

    async def _change(
        self,
        connection: Connection,
        change: Callable[[Connection, dict[str, Listed]], Awaitable[bool]],
    ) -> dict[str, Listed]:
        async with self._locked(connection) as wire:
            if await count(connection, self._queue) is None:
                await wire.declare(self._queue)
                # at once, whatever becomes of the change: who looks waits for a list to be there
                await self._publisher.send(connection, [self._posting(List())])
            taken, found = await self._take(wire)
            try:
                changed = await change(connection, found.queues)
            except BaseException:
                self._keep(wire, taken)
                raise
            if not changed:
                self._keep(wire, taken)
            else:
                found.version += 1
                await self._publisher.send(connection, [self._posting(found)])
                wire.ack([each.tag for each in taken], ())
        self.known = found.queues
        return self.known

    async def _take(self, wire: Wire) -> tuple[list[Message], List]:
        """Take the list out, under the lock: all there is of it, the newest last.

        There is more than one when a change was interrupted, or when the broker was killed: it may
        have forgotten that an old one was acknowledged.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + BACK_WITHIN
        taken: list[Message] = []
        # who had it before and died, or failed, gives it back in a moment
        while not taken and loop.time() < end:
            while found := await wire.get(self._queue, 2):
                taken += found
            if not taken:
                await asyncio.sleep(PAUSE)
        if not taken:
            return [], List()  # whoever made the queue died before the first list
        lists = [(List.from_bytes(each.body), each) for each in taken]
        lists.sort(key=lambda each: each[0].version)
        return [each for _, each in lists], lists[-1][0]

    def _keep(self, wire: Wire, taken: list[Message]) -> None:
        """Give the newest list back; older ones are of no use."""
        if taken:
            wire.ack([each.tag for each in taken[:-1]], ())
            wire.requeue(taken[-1].tag)

    def _posting(self, listed: List) -> Posting:
        return Posting(self._queue, "queues", "", listed.to_bytes())

    @asynccontextmanager
    async def _locked(self, connection: Connection) -> AsyncGenerator[Wire]:
        """Hold the lock; the list is taken out and given back on the same channel."""
        name = names.lock(self._queue)
        wire = await lock(connection, name, self._link)
        try:
            yield wire
        finally:
            if wire.closed is None:
                await wire.delete(name)
                wire.close()


async def lock(connection: Connection, name: str, link: Link) -> Wire:
    """Hold the lock of that name; it ends when the queue is deleted or the connection ends."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while True:
        wire = await Wire.open(connection)
        try:
            await wire.declare(name, exclusive=True)
        except exceptions.ChannelClosedByBroker as error:
            if code_of(error) not in (LOCKED, NOT_FOUND):
                raise
        else:
            return wire
        if loop.time() > end:
            reason = f"its lock {name} is held by another client for long"
            raise BackendUnavailableError("rabbitmq", link.address.shown, reason)
        await asyncio.sleep(PAUSE * 5)
