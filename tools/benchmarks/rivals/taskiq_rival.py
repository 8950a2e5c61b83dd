"""TaskIQ: a Redis stream with a group, or aio-pika; both acknowledge after the run."""

import asyncio
from importlib import import_module
from typing import Any

from tools.benchmarks.rivals.order import PREFIX, URL, handled, timed_async

PREFETCH = 100

broker: Any
if URL.startswith("redis"):
    # a new group must see what was published before there was a worker
    broker = import_module("taskiq_redis").RedisStreamBroker(
        URL, queue_name=PREFIX, consumer_group_name=PREFIX, consumer_id="0"
    )
else:
    taskiq: Any = import_module("taskiq_aio_pika")
    kind = import_module("taskiq_aio_pika.queue").QueueType.CLASSIC
    broker = taskiq.AioPikaBroker(
        URL,
        qos=PREFETCH,
        exchange=import_module("taskiq_aio_pika.exchange").Exchange(name=PREFIX),
        task_queues=[taskiq.Queue(name=PREFIX, type=kind)],
        dead_letter_queue=taskiq.Queue(name=f"{PREFIX}.dead", type=kind),
    )


@broker.task(task_name="work")
async def work(_: dict[str, Any]) -> None:
    """Do nothing with a job."""
    handled()


def publish(values: list[dict[str, Any]]) -> float:
    """Kick a task a value."""
    return asyncio.run(_publish(values))


async def _publish(values: list[dict[str, Any]]) -> float:
    await broker.startup()
    took = await timed_async(work.kiq, values)
    await broker.shutdown()
    return took
