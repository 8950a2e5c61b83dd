"""A channel whose calls can be awaited. Everything here runs in the thread of one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from pika import exceptions, frame, spec

from mindtrace.jobs_rabbitmq.connection import Channel, Connection, resolve
from mindtrace.jobs_rabbitmq.frames import acks
from mindtrace.jobs_rabbitmq.message import Message
from mindtrace.jobs_rabbitmq.trouble import NOT_FOUND, code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from mindtrace.jobs_rabbitmq.deliveries import Pushed

__all__ = ["Connection", "Wire", "count"]


class Wire:
    """One channel. What is awaited on it fails when it closes, with the reason why."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.channel: Channel
        self.closed: BaseException | None = None
        self.on_closed: Callable[[BaseException], None] | None = None
        self.on_message: Callable[[Message], None] | None = None
        self.on_cancelled: Callable[[str], None] | None = None
        self._waiting: set[asyncio.Future[Any]] = set()
        self._gets: deque[_Gets] = deque()
        self._sources: dict[str, str] = {}

    @classmethod
    async def open(cls, connection: Connection) -> Self:
        """Open a channel."""
        self = cls(connection)
        opened = self._future()
        channel = connection.channel(on_open_callback=lambda _: resolve(opened, None))
        assert isinstance(channel, Channel)
        channel.wire = self
        channel.add_on_close_callback(self._close)
        channel.add_on_cancel_callback(self._cancelled)
        self.channel = channel
        await opened
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close: what is not acknowledged goes back to its queue."""
        if self.channel.is_open:
            self.channel.close()

    async def close_and_wait(self) -> None:
        """Close, and return when the broker has closed it as well."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def closed(*_: object) -> None:
            resolve(over, None)

        self.channel.add_on_close_callback(closed)
        self.close()
        if self.closed is None:
            await over

    # calls

    async def declare(
        self,
        queue: str,
        arguments: Mapping[str, str | int] | None = None,
        *,
        passive: bool = False,
        exclusive: bool = False,
    ) -> int:
        """Declare a durable queue, or with `passive` look for it; return how many are ready."""
        method = await self.call(
            self.channel.queue_declare,
            queue,
            passive=passive,
            durable=not exclusive,
            exclusive=exclusive,
            arguments=dict(arguments) if arguments else None,
        )
        return int(method.message_count)

    async def delete(self, queue: str, *, if_empty: bool = False) -> None:
        """Delete a queue; one that is not there is none of its business."""
        await self.call(self.channel.queue_delete, queue, if_empty=if_empty)

    async def purge(self, queue: str) -> int:
        """Remove what is ready in a queue; return how many."""
        return int((await self.call(self.channel.queue_purge, queue)).message_count)

    async def limit(self, prefetch: int) -> None:
        """Let each consumer that begins after this have so many messages."""
        await self.call(self.channel.basic_qos, prefetch_count=prefetch)

    async def confirm(self, on_confirm: Callable[[Any], None]) -> None:
        """Ask the broker to confirm what is published here."""
        future = self._future()
        self.channel.confirm_delivery(on_confirm, callback=lambda method: resolve(future, method))
        await future

    async def call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Make a call of pika's channel that has a reply, and return it."""
        future = self._future()

        def answered(reply: Any) -> None:
            resolve(future, reply)

        method(*args, callback=answered, **options)
        return (await future).method

    async def get(self, queue: str, count: int = 1) -> list[Message]:
        """Take up to `count` ready messages, with one round trip for all of them."""
        wanted = _Gets(queue, count, self._future())
        self._gets.append(wanted)
        one = frame.Method(self.channel.channel_number, spec.Basic.Get(queue=queue)).marshal()
        self.connection.send(one * count)
        found: list[Message] = await wanted.future
        return found

    async def consume(self, queue: str, tag: str) -> None:
        """Have the broker push messages of a queue to `on_message`."""
        self._sources[tag] = queue
        await self.call(
            self.channel.basic_consume, queue, on_message_callback=_unused, consumer_tag=tag
        )

    async def cancel(self, tag: str) -> None:
        """Stop a consumer. What was under way has been given to `on_message` when this returns."""
        await self.call(self.channel.basic_cancel, tag)
        await self.settled()

    def ack(self, tags: Sequence[int], unsettled: Sequence[int]) -> None:
        """Acknowledge; all of the oldest unsettled ones with one frame.

        Args:
            tags: what to acknowledge.
            unsettled: every tag of this channel that has no answer yet, in order.
        """
        frames = acks(tags, unsettled, self.channel.channel_number)
        if frames and self.closed is None:
            self.connection.send(frames)

    def requeue(self, tag: int) -> None:
        """Give a message back to its place; the broker calls it redelivered from then on."""
        if self.closed is None:
            self.channel.basic_nack(tag, requeue=True)

    async def settled(self) -> None:
        """Return when the broker has seen all that was sent before on this channel."""
        await self.call(self.channel.basic_qos, prefetch_count=1)

    # what pika tells

    def got(self, method: Any, properties: Any, body: bytes) -> None:
        """A `get` was answered."""
        wanted = self._gets[0]
        if method is not None:
            tag, again = method.delivery_tag, method.redelivered
            wanted.found.append(Message(tag, again, wanted.queue, properties, body))
        wanted.missing -= 1
        if wanted.missing == 0:
            self._gets.popleft()
            resolve(wanted.future, wanted.found)

    def delivered(self, method: Any, properties: Any, body: bytes) -> None:
        """A message was pushed."""
        source = self._sources.get(method.consumer_tag, "")
        if self.on_message is not None:
            tag, again = method.delivery_tag, method.redelivered
            self.on_message(Message(tag, again, source, properties, body))

    def pushed(self, message: Pushed) -> None:
        """A message was pushed, and read by ourselves."""
        if self.on_message is not None:
            source = self._sources.get(message.consumer_tag, "")
            self.on_message(
                Message(
                    message.delivery_tag,
                    message.redelivered,
                    source,
                    message.properties,
                    message.body,
                )
            )

    def _cancelled(self, method: Any) -> None:
        if self.on_cancelled is not None:
            self.on_cancelled(self._sources.get(method.method.consumer_tag, ""))

    def _close(self, _: object, reason: BaseException) -> None:
        self.closed = reason
        for future in list(self._waiting):
            if not future.done():
                future.set_exception(reason)
        self._gets.clear()
        if self.on_closed is not None:
            self.on_closed(reason)

    def _future(self) -> asyncio.Future[Any]:
        if self.closed is not None:
            raise exceptions.ChannelWrongStateError(str(self.closed)) from self.closed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future


class _Gets:
    """Several gets under way."""

    def __init__(self, queue: str, count: int, future: asyncio.Future[Any]) -> None:
        self.queue = queue
        self.missing = count
        self.future = future
        self.found: list[Message] = []


def _unused(*_: object) -> None:
    """Stand for the callback that pika asks for; deliveries take the way of `Channel`."""


async def count(connection: Connection, queue: str) -> int | None:
    """Return how many messages of a queue are ready; None if there is no such queue."""
    wire = await Wire.open(connection)  # of its own: a queue that is missing closes it
    try:
        found = await wire.declare(queue, passive=True)
    except exceptions.ChannelClosedByBroker as error:
        if code_of(error) != NOT_FOUND:
            raise
        return None
    wire.close()
    return found
