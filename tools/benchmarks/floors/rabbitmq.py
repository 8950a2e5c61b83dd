"""The floor of the RabbitMQ backend: plain `pika` with a `BlockingConnection`.

Publishing is one confirmed persistent publish a call; publishing many is the same without
confirms, so that nothing tells whether the broker has them. Consuming is push delivery with a
prefetch of 100 and an acknowledgement a message, with each body decoded.
"""

import json
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import pika

from tools.benchmarks.floors.base import Floor

PREFETCH = 100
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent.value)


class RabbitFloor(Floor):
    """Plain `pika`: one connection with a channel that confirms and one that does not."""

    name = "raw pika"
    leaves_work = True

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        parameters = pika.URLParameters(url)
        # it does nothing while others have their turn, so nobody would answer heartbeats
        parameters.heartbeat = 0
        self._connection = pika.BlockingConnection(parameters)
        self._queue = f"{prefix}.floor"
        self._plain: Any = self._connection.channel()
        self._plain.queue_declare(self._queue, durable=True)
        self._plain.basic_qos(prefetch_count=PREFETCH)
        self._confirmed: Any = self._connection.channel()
        self._confirmed.confirm_delivery()

    def insert(self, body: str) -> None:
        """Publish one message and wait until it is confirmed."""
        self._confirmed.basic_publish("", self._queue, body, PERSISTENT)

    def insert_many(self, bodies: Sequence[str]) -> None:
        """Publish messages and wait for nothing."""
        for body in bodies:
            self._plain.basic_publish("", self._queue, body, PERSISTENT)

    def wait_for(self, count: int) -> None:
        """Ask, on another channel, until the queue has so many."""
        declared = self._confirmed.queue_declare
        while declared(self._queue, passive=True).method.message_count < count:
            pass

    def consume(self, count: int) -> float:
        """Let messages be pushed; decode and acknowledge each."""
        left = count

        def on_message(channel: Any, method: Any, _: object, body: bytes) -> None:
            nonlocal left
            json.loads(body)
            channel.basic_ack(method.delivery_tag)
            left -= 1
            if left == 0:
                channel.stop_consuming()

        began = perf_counter()
        self._plain.basic_consume(self._queue, on_message)
        self._plain.start_consuming()
        return perf_counter() - began

    def take(self, started: Callable[[Any], None]) -> None:
        """Wait for one message to be pushed. The consumer stays for the next call."""
        method, _, body = next(self._plain.consume(self._queue))
        started(json.loads(body))
        self._plain.basic_ack(method.delivery_tag)

    def empty(self) -> None:
        """Purge the queue; on the channel that fills it, so that nothing comes after."""
        self._plain.queue_purge(self._queue)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
