"""How soon an idle consumer in another process starts a job, and how soon its result is read.

The floor's consumer waits at the store, or where a store wakes nobody in a read of a pipe, into
which its publisher writes after the commit.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median, quantiles
from time import monotonic_ns
from typing import NamedTuple

from tools.benchmarks.children import Child, pause
from tools.benchmarks.floors.base import Floor
from tools.benchmarks.ours import Ours
from tools.benchmarks.payload import QUEUE, SCHEMA, Shot
from tools.benchmarks.report import Figure, Row, limit
from tools.benchmarks.stage import Stage

PAUSES = (0.02, 0.05)
"""Seconds between two jobs, from and to: the consumer is idle again by then."""

WARM_UP = 3


class Times(NamedTuple):
    """Nanoseconds from the call of publish until the job began, and until that was known here."""

    started: int
    heard: int


def latency(stage: Stage) -> Iterator[Row]:
    """Send one job at a time, ours and the floor's in turn."""
    starts: list[Times] = []
    raw: list[Times] = []
    results: list[int] = []
    with stage.both() as pair, ExitStack() as stack:
        child = stack.enter_context(pair.our_child("report"))
        plain = stack.enter_context(pair.floor_child())
        for number in range(stage.settings.samples + WARM_UP):
            starts.append(_ours(pair.ours, child, number))
            raw.append(_raw(pair.floor, plain, number))
            if stage.with_results:
                results.append(_result(pair.ours, child, number))
    mine = [times.started for times in starts[WARM_UP:]]
    floors = [times.started for times in raw[WARM_UP:]]
    what = "publish -> handler started, idle consumer, "
    yield _row(what + "p50", median(mine), median(floors), stage.bars.p50)
    yield _row(what + "p99", p99(mine), p99(floors), stage.bars.p99)
    if results:
        heard = median(times.heard for times in raw[WARM_UP:])
        yield _row("round trip, submit -> result(), p50", median(results[WARM_UP:]), heard, None)


def _ours(ours: Ours, child: Child, number: int) -> Times:
    shot = _next_shot(number)
    sent = monotonic_ns()
    ours.orchestrator.publish(QUEUE, shot)
    return _times(child, number, sent)


def _raw(floor: Floor, child: Child, number: int) -> Times:
    if floor.waits:
        child.say("take")
    body = _next_shot(number).model_dump_json()
    sent = monotonic_ns()
    floor.insert(body)
    if not floor.waits:
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


def p99(values: Sequence[float]) -> float:
    """Return what one in a hundred is above."""
    return quantiles(values, n=100, method="inclusive")[-1]


def _row(measure: str, ours: float, raw: float, most: float | None) -> Row:
    return Row(
        measure=measure,
        ours=Figure(ours / 1e6, "ms"),
        who="raw",
        against=Figure(raw / 1e6, "ms"),
        ratio=ours / raw,
        bar=limit("<=", most, "ms"),
    )
