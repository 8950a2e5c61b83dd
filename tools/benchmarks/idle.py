"""What an idle consumer costs."""

from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic_ns

import psutil

from tools.benchmarks.children import Child, pause
from tools.benchmarks.payload import QUEUE, Shot
from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.stage import Stage

SETTLE = 1.0
"""Seconds after its only job before a consumer counts as idle."""


def idle(stage: Stage) -> Iterator[Row]:
    """Watch the CPU time of a consumer that ran one job and waits for another."""
    settings = stage.settings
    with stage.both() as pair, ExitStack() as stack:
        child = stack.enter_context(pair.our_child("report"))
        plain = stack.enter_context(pair.floor_child())
        pair.ours.orchestrator.publish(QUEUE, Shot(number=1))
        child.hear()
        pause(min(SETTLE, settings.idle_seconds))
        began, before, raw_before = monotonic_ns(), _cpu(child), _cpu(plain)
        pause(settings.idle_seconds)
        after, raw_after = _cpu(child), _cpu(plain)
        passed = monotonic_ns() - began
    yield Row(
        measure=f"idle consumer, CPU over {settings.idle_seconds:g} s",
        ours=Figure(100 * (after - before) / passed, "%"),
        who="raw",
        against=Figure(100 * (raw_after - raw_before) / passed, "%"),
        bar=Bar("<", Figure(1.0, "%")),
    )


def _cpu(child: Child) -> int:
    """Return the nanoseconds that a child and its own children have used."""
    child.say("cpu")
    return int(child.hear()) + sum(map(_used, psutil.Process(child.pid).children(recursive=True)))


def _used(process: psutil.Process) -> int:
    times = process.cpu_times()
    return int(1e9 * (times.user + times.system))
