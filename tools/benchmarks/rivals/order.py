"""What a rival's process is told, and how a worker tells when it began and when it was done."""

import json
import os
from collections.abc import Awaitable, Callable
from itertools import count
from time import monotonic_ns, perf_counter
from typing import Any

_ORDER: dict[str, Any] = json.loads(os.environ["MINDTRACE_BENCH_ORDER"])
URL: str = _ORDER["url"]
PREFIX: str = _ORDER["prefix"]
"""Of all names on the server; also the name of the queue."""
AT_ONCE: int = _ORDER["at_once"]
"""Jobs that a worker handles at a time, where its library's settings say that."""
LAST: int = _ORDER["last"]
"""The number of the job that is the last one, the first being 0."""

_numbers = count()


def handled() -> None:
    """Count one job; tell the time of the first and of the last."""
    number = next(_numbers)
    if number in {0, LAST}:
        now = monotonic_ns()
        report = os.open(_ORDER["report"], os.O_WRONLY)
        os.write(report, f"{now}\n".encode())
        os.close(report)


def timed(put: Callable[[dict[str, Any]], object], values: list[dict[str, Any]]) -> float:
    """Publish values; return the seconds after the first one, which connects."""
    put(values[0])
    began = perf_counter()
    for value in values[1:]:
        put(value)
    return perf_counter() - began


async def timed_async(
    put: Callable[[dict[str, Any]], Awaitable[object]], values: list[dict[str, Any]]
) -> float:
    """Publish values, one after the other; return the seconds after the first one."""
    await put(values[0])
    began = perf_counter()
    for value in values[1:]:
        await put(value)
    return perf_counter() - began
