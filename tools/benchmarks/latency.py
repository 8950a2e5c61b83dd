"""How soon an idle consumer in another process starts a job, and how soon its result is read.

The floor's consumer sleeps in a read of a pipe, into which its publisher writes after the commit.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median, quantiles
from time import monotonic_ns
from typing import NamedTuple

from tools.benchmarks.children import Child, pause, python
from tools.benchmarks.floor import Floor
from tools.benchmarks.ours import Ours
from tools.benchmarks.pair import both
from tools.benchmarks.payload import QUEUE, SCHEMA, Shot
from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.settings import Settings

PAUSES = (0.02, 0.05)
"""Seconds between two jobs, from and to: the consumer is idle again by then."""

WARM_UP = 3


class Times(NamedTuple):
    """Nanoseconds from the call of publish until the job began, and until that was known here."""

    started: int
    heard: int


def latency(settings: Settings) -> Iterator[Row]:
    """Send one job at a time, ours and the floor's in turn."""
    starts: list[Times] = []
    raw: list[Times] = []
    results: list[int] = []
    with both(settings) as (ours, floor, place), ExitStack() as stack:
        child = stack.enter_context(python("our_child", "report", *place))
        plain = stack.enter_context(python("floor_child", *place))
        for number in range(settings.samples + WARM_UP):
            starts.append(_ours(ours, child, number))
            raw.append(_raw(floor, plain, number))
            results.append(_result(ours, child, number))
    mine = [times.started for times in starts[WARM_UP:]]
    floors = [times.started for times in raw[WARM_UP:]]
    what = "publish -> handler started, idle consumer, "
    yield _row(what + "p50", median(mine), median(floors), 5.0)
    yield _row(what + "p99", _p99(mine), _p99(floors), 20.0)
    heard = median(times.heard for times in raw[WARM_UP:])
    yield _row("round trip, submit -> result(), p50", median(results[WARM_UP:]), heard, None)


def _ours(ours: Ours, child: Child, number: int) -> Times:
    shot = _next_shot(number)
    sent = monotonic_ns()
    ours.orchestrator.publish(QUEUE, shot)
    return _times(child, number, sent)


def _raw(floor: Floor, child: Child, number: int) -> Times:
    body = _next_shot(number).model_dump_json()
    sent = monotonic_ns()
    floor.insert(body)
    child.say("take")
    return _times(child, number, sent)


def _result(ours: Ours, child: Child, number: int) -> int:
    shot = _next_shot(number)
    sent = monotonic_ns()
    ours.orchestrator.submit(SCHEMA, shot).result(timeout=60)
    read = monotonic_ns()
    _times(child, number, sent)
    return read - sent


def _next_shot(number: int) -> Shot:
    pause(random.uniform(*PAUSES))  # noqa: S311 - not a secret
    return Shot(number=number)


def _times(child: Child, number: int, sent: int) -> Times:
    """Wait until the child says that it began that job; each comes before the next is sent."""
    said, began = child.hear().split()
    if int(said) != number:
        message = f"job {said} began where job {number} was expected"
        raise RuntimeError(message)
    return Times(int(began) - sent, monotonic_ns() - sent)


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[-1]


def _row(measure: str, ours: float, raw: float, limit: float | None) -> Row:
    return Row(
        measure=measure,
        ours=Figure(ours / 1e6, "ms"),
        who="raw",
        against=Figure(raw / 1e6, "ms"),
        ratio=ours / raw,
        bar=None if limit is None else Bar("<=", Figure(limit, "ms")),
    )
