"""Exchanges and bindings, for users who route messages themselves. Jobs need none of this.

Their names are the broker's own: no namespace is put before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import exceptions

from mindtrace.jobs_rabbitmq.trouble import NOT_FOUND, PRECONDITION_FAILED, code_of
from mindtrace.jobs_rabbitmq.wire import Connection, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mindtrace.jobs_rabbitmq.link import Link

TYPES = ("direct", "fanout", "topic", "headers")


def declare(link: Link, exchange: str, kind: str, *, durable: bool, auto_delete: bool) -> bool:
    """Make an exchange exist; return whether this call made it.

    Raises:
        ValueError: it has no name, the type is none of RabbitMQ's, or it exists otherwise.
    """
    if not exchange or kind not in TYPES:
        # the broker would end the whole connection
        message = f"an exchange has a name, and a type out of {', '.join(TYPES)}; not {kind!r}"
        raise ValueError(message)
    there = exists(link, exchange)

    async def declared(wire: Wire) -> None:
        await wire.call(
            wire.channel.exchange_declare,
            exchange,
            kind,
            durable=durable,
            auto_delete=auto_delete,
        )

    if not _done(link, declared, PRECONDITION_FAILED):
        message = (
            f"the exchange {exchange!r} exists with other properties; delete it first, "
            "or say the type, durable and auto_delete that it has"
        )
        raise ValueError(message)
    return not there


def delete(link: Link, exchange: str) -> None:
    """Delete an exchange with its bindings; do nothing if there is none."""

    async def deleted(wire: Wire) -> None:
        await wire.call(wire.channel.exchange_delete, exchange)

    _done(link, deleted)


def exists(link: Link, exchange: str) -> bool:
    """Tell whether there is an exchange of that name."""

    async def looked(wire: Wire) -> None:
        await wire.call(wire.channel.exchange_declare, exchange, passive=True)

    return _done(link, looked, NOT_FOUND)


def require(link: Link, exchange: str) -> None:
    """Raise ValueError if there is no exchange of that name."""
    if not exists(link, exchange):
        message = (
            f"there is no exchange {exchange!r}; "
            f"declare it first: declare_exchange(exchange={exchange!r})"
        )
        raise ValueError(message)


def bind(link: Link, queue: str, exchange: str, routing_key: str) -> None:
    """Have an exchange route to one of the broker's queues what carries the routing key."""

    async def bound(wire: Wire) -> None:
        await wire.call(wire.channel.queue_bind, queue, exchange, routing_key)

    _done(link, bound)


def _done(
    link: Link, operation: Callable[[Wire], Awaitable[Any]], expected: int | None = None
) -> bool:
    """Do something on a channel of its own, and return False if it ends with the expected code."""

    async def done(connection: Connection) -> bool:
        wire = await Wire.open(connection)
        try:
            await operation(wire)
        except exceptions.ChannelClosedByBroker as error:
            if code_of(error) != expected:
                raise
            return False
        wire.close()
        return True

    return link.call(done)
