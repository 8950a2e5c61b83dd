"""SAQ on Redis: a job stays in the active list until it is done; no results are kept."""

import asyncio
from importlib import import_module
from typing import Any

from tools.benchmarks.rivals.order import AT_ONCE, PREFIX, URL, handled, timed_async

queue: Any = import_module("saq").Queue.from_url(URL, name=PREFIX)


async def work(_: object, *, value: dict[str, Any]) -> None:  # noqa: ARG001 - given by name
    """Do nothing with a job."""
    handled()


settings: dict[str, Any] = {"queue": queue, "functions": [work], "concurrency": AT_ONCE}


def publish(values: list[dict[str, Any]]) -> float:
    """Enqueue a job a value."""
    return asyncio.run(_publish(values))


async def _publish(values: list[dict[str, Any]]) -> float:
    async def put(value: dict[str, Any]) -> None:
        await queue.enqueue("work", value=value, ttl=-1)

    took = await timed_async(put, values)
    await queue.disconnect()
    return took
