"""A consumer's channel, as its link's thread handles it: gets, pushes, acknowledgements.

Every method that is no coroutine and touches the channel must run in the link's thread. What the
broker pushes goes to `arrived`, where the consumer's own thread takes it.
"""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mindtrace.jobs_rabbitmq.wire import Connection, Wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from mindtrace.jobs_rabbitmq.message import Message
    from mindtrace.jobs_rabbitmq.names import Names


class Inbox:
    """One channel on which messages come in and are answered.

    Attributes:
        arrived: what was pushed, in order, as many at a time as came in one read of the socket;
            an empty list when it is worth looking at the flags again.
        unsettled: where each message without an answer came from, by tag and in order.
        closed: why the channel ended; all that it held is back in the broker then.
        listening: the broker's queues that push to it now.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        # put() of it may be called in a signal handler, whatever was interrupted
        self.arrived: SimpleQueue[list[Message]] = SimpleQueue()
        self._coming: list[Message] = []
        self.unsettled: dict[int, str] = {}
        self.listening: dict[str, str] = {}
        self._consumers = 0

    @classmethod
    async def open(cls, connection: Connection) -> Self:
        """Open a channel for it."""
        wire = await Wire.open(connection)
        self = cls(wire)
        wire.on_message = self._pushed
        wire.on_closed = lambda _: self._pass_on()
        wire.on_cancelled = self._cancelled
        return self

    @property
    def closed(self) -> BaseException | None:
        """Why the channel ended, if it did."""
        return self.wire.closed

    async def look(self, names: Names, limit: int) -> list[Message]:
        """Take what is ready now: one lost job alone, else up to `limit` of the others.

        A message that comes redelivered at the head comes alone, for it is about to become a lost
        job; behind the head such messages come with the others.
        """
        found = await self.get(names.lost, 1)
        if not found:
            found = await self.get(names.main, 1)
            if found and not found[0].redelivered and limit > 1:
                found += await self.get(names.main, limit - 1)
        return found

    async def get(self, queue: str, count: int) -> list[Message]:
        """Take up to `count` messages of a queue of the broker."""
        found = await self.wire.get(queue, count)
        self.unsettled.update((each.tag, queue) for each in found)
        return found

    async def listen(self, queues: Sequence[str], prefetch: int) -> None:
        """Have the broker push up to `prefetch` unsettled messages of each queue."""
        await self.wire.limit(prefetch)
        for queue in queues:
            self._consumers += 1
            tag = f"mindtrace-{self._consumers}"
            self.listening[queue] = tag
            await self.wire.consume(queue, tag)

    async def stop_listening(self) -> None:
        """End the pushing; all that was pushed is in `arrived` when this returns."""
        while self.listening:
            _, tag = self.listening.popitem()
            await self.wire.cancel(tag)
        self._pass_on()

    def ack(self, tags: Sequence[int]) -> None:
        """Acknowledge messages."""
        # what was got is entered a moment after what was pushed
        self.wire.ack(tags, sorted(self.unsettled))
        for tag in tags:
            self.unsettled.pop(tag, None)

    async def acked(self, tags: Sequence[int]) -> None:
        """Acknowledge messages, and return when the broker has seen it."""
        self.ack(tags)
        await self.wire.settled()

    async def requeued(self, tags: Sequence[int]) -> None:
        """Give messages back to their places; they come redelivered."""
        for tag in tags:
            self.wire.requeue(tag)
            self.unsettled.pop(tag, None)
        await self.wire.settled()

    def close(self) -> None:
        """Close the channel: what has no answer goes back to the broker."""
        self.wire.close()

    async def closed_now(self) -> None:
        """Close the channel, and return when the broker has taken back what had no answer."""
        await self.wire.close_and_wait()

    def count(self, names: Names) -> int:
        """Return how many unsettled messages are of a job queue; from any thread."""
        return sum(source in (names.main, names.lost) for source in list(self.unsettled.values()))

    def _pushed(self, message: Message) -> None:
        self.unsettled[message.tag] = message.source
        if not self._coming:
            # passed on together: waking the consumer for each one costs more than the rest
            asyncio.get_running_loop().call_soon(self._pass_on)
        self._coming.append(message)

    def _pass_on(self) -> None:
        coming, self._coming = self._coming, []
        self.arrived.put(coming)

    def _cancelled(self, queue: str) -> None:
        """The broker ended a consumer, for its queue was deleted."""
        self.listening.pop(queue, None)
        self._pass_on()
