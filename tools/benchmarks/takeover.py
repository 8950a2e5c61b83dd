"""How soon the job of a killed process starts in another one."""

import random
from collections.abc import Iterator
from statistics import median
from time import monotonic_ns

from tools.benchmarks.children import pause, python
from tools.benchmarks.pair import both
from tools.benchmarks.payload import QUEUE, Shot
from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.settings import Settings


def takeover(settings: Settings) -> Iterator[Row]:
    """Kill a consumer in the middle of a job while another one is idle."""
    seconds = [_once(settings, number) for number in range(settings.takeovers)]
    slowest = f"slowest of {settings.takeovers}"
    yield Row(
        measure=f"takeover after SIGKILL of the holder, {slowest}",
        ours=Figure(max(seconds), "s"),
        who="the median is",
        against=Figure(median(seconds), "s"),
        bar=Bar("<=", Figure(2.0, "s")),
    )


def _once(settings: Settings, number: int) -> float:
    with both(settings) as (ours, _, place), python("our_child", "hold", *place) as holder:
        ours.orchestrator.publish(QUEUE, Shot(number=number))
        holder.hear()
        with python("our_child", "report", *place) as heir:
            ours.orchestrator.publish(QUEUE, Shot(number=-1))
            heir.hear()
            # the heir looks around at intervals: be killed anywhere in them
            pause(random.uniform(0.2, 1.2))  # noqa: S311 - not a secret
            killed = monotonic_ns()
            holder.kill()
            began = int(heir.hear().split()[1])
    return (began - killed) / 1e9
