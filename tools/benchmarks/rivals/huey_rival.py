"""Huey on Redis: a job is gone when it is taken, so nothing is left to acknowledge; no results."""

from importlib import import_module
from typing import Any

from tools.benchmarks.rivals.order import PREFIX, URL, handled, timed

queue: Any = import_module("huey").RedisHuey(PREFIX, url=URL, results=False)


@queue.task()
def work(_: dict[str, Any]) -> None:
    """Do nothing with a job."""
    handled()


def publish(values: list[dict[str, Any]]) -> float:
    """Call the task once a value, which enqueues the call."""
    return timed(work, values)
