"""RQ on Redis: no results. Its worker has the started jobs in a registry until they are done."""

from importlib import import_module
from itertools import count
from typing import Any

from tools.benchmarks.rivals.order import PREFIX, URL, handled, timed

connection: Any = import_module("redis").Redis.from_url(URL)
queue: Any = import_module("rq").Queue(PREFIX, connection=connection)
_numbers = count()


def work(_: dict[str, Any]) -> None:
    """Do nothing with a job."""
    handled()


def publish(values: list[dict[str, Any]]) -> float:
    """Enqueue a call a value, under ids that can be found again."""

    def put(value: dict[str, Any]) -> None:
        name = "tools.benchmarks.rivals.rq_rival.work"
        queue.enqueue(name, value, result_ttl=0, job_id=f"{PREFIX}-{next(_numbers)}")

    return timed(put, values)
