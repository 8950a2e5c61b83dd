"""Dramatiq on Redis or RabbitMQ: acknowledged after the run, confirmed when published."""

from importlib import import_module
from typing import Any

from tools.benchmarks.rivals.order import PREFIX, URL, handled, timed

dramatiq: Any = import_module("dramatiq")
broker: Any
if URL.startswith("redis"):
    broker = import_module("dramatiq.brokers.redis").RedisBroker(url=URL, namespace=PREFIX)
else:
    broker = import_module("dramatiq.brokers.rabbitmq").RabbitmqBroker(
        url=URL, confirm_delivery=True
    )
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=PREFIX)
def work(_: dict[str, Any]) -> None:
    """Do nothing with a job."""
    handled()


def publish(values: list[dict[str, Any]]) -> float:
    """Send a message a value."""
    return timed(work.send, values)
