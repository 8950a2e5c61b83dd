"""arq on Redis: no results; it polls, so its pause between two looks is made short."""

import asyncio
from importlib import import_module
from itertools import count
from typing import Any

from tools.benchmarks.rivals.order import AT_ONCE, PREFIX, URL, handled, timed_async

connections: Any = import_module("arq.connections")
_server = connections.RedisSettings.from_dsn(URL)


async def work(_: object, __: dict[str, Any]) -> None:
    """Do nothing with a job."""
    handled()


class WorkerSettings:
    """What `arq` reads."""

    functions = (work,)
    redis_settings = _server
    queue_name = PREFIX
    max_jobs = AT_ONCE
    poll_delay = 0.01
    keep_result = 0


def publish(values: list[dict[str, Any]]) -> float:
    """Enqueue a job a value, under ids that can be found again."""
    return asyncio.run(_publish(values))


async def _publish(values: list[dict[str, Any]]) -> float:
    pool = await connections.create_pool(_server, default_queue_name=PREFIX)
    numbers = count()

    async def put(value: dict[str, Any]) -> None:
        await pool.enqueue_job("work", value, _job_id=f"{PREFIX}-{next(numbers)}")

    took = await timed_async(put, values)
    await pool.aclose()
    return took
