"""How soon the job of a killed process starts in another one."""

import random
from collections.abc import Callable, Iterator
from statistics import median
from time import monotonic_ns

import psutil

from tools.benchmarks.children import Child, pause
from tools.benchmarks.payload import QUEUE, Shot
from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.stage import Stage


def takeover(stage: Stage) -> Iterator[Row]:
    """Kill a consumer in the middle of a job while another one is idle."""
    yield _row(stage, "the holder", Child.kill)
    if stage.with_keepers:
        yield _row(stage, "the holder and its keeper", _kill_with_children)


def _row(stage: Stage, whom: str, kill: Callable[[Child], None]) -> Row:
    count = stage.settings.takeovers
    seconds = [_once(stage, number, kill) for number in range(count)]
    chosen = "".join(f", {name} {value:g} s" for name, value in stage.takeover_options.items())
    return Row(
        measure=f"takeover after SIGKILL of {whom}{chosen}, slowest of {count}",
        ours=Figure(max(seconds), "s"),
        who="the median is",
        against=Figure(median(seconds), "s"),
        bar=Bar("<=", Figure(stage.bars.takeover, "s")),
    )


def _kill_with_children(child: Child) -> None:
    """Kill a process and what it started, as the end of a machine does."""
    for each in psutil.Process(child.pid).children(recursive=True):
        each.kill()
    child.kill()


def _once(stage: Stage, number: int, kill: Callable[[Child], None]) -> float:
    with stage.both(**stage.takeover_options) as pair, pair.our_child("hold") as holder:
        orchestrator = pair.ours.orchestrator
        orchestrator.publish(QUEUE, Shot(number=number))
        holder.hear()
        with pair.our_child("report") as heir:
            orchestrator.publish(QUEUE, Shot(number=-1))
            heir.hear()
            # the heir looks around at intervals: be killed anywhere in them
            pause(random.uniform(0.2, 1.2))  # noqa: S311 - not a secret
            killed = monotonic_ns()
            kill(holder)
            began = int(heir.hear().split()[1])
    return (began - killed) / 1e9
