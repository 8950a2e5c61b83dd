"""How long importing takes, beyond pydantic which every user has loaded anyway.

The package loads its modules when their names are first used. So its bare import says little, and
what a program waits for is measured too: the names that every producer and consumer needs.
"""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.stage import Stage
from tools.commands import ROOT

_PROGRAM = """
from time import perf_counter
times = [perf_counter()]
from pydantic import BaseModel
times.append(perf_counter())
import mindtrace.jobs
times.append(perf_counter())
from mindtrace.jobs import Consumer, JobSchema, LocalClient, Orchestrator
times.append(perf_counter())
print(*(after - before for before, after in zip(times, times[1:])))
"""


def imports(stage: Stage) -> Iterator[Row]:
    """Import in fresh interpreters; the first one, which may compile, does not count."""
    pydantic, bare, names = zip(
        *[_once() for _ in range(stage.settings.imports + 1)][1:], strict=True
    )
    used = [one + more for one, more in zip(bare, names, strict=True)]
    yield _row("import mindtrace.jobs, beyond pydantic", bare, pydantic)
    yield _row("the same, with Consumer, LocalClient, Orchestrator", used, pydantic)


def _row(measure: str, ours: tuple[float, ...] | list[float], pydantic: tuple[float, ...]) -> Row:
    ratios = [mine / its for mine, its in zip(ours, pydantic, strict=True)]
    return Row(
        measure=measure,
        ours=Figure(median(ours) * 1e3, "ms"),
        who="pydantic itself",
        against=Figure(median(pydantic) * 1e3, "ms"),
        ratio=median(ratios),
        bar=Bar("<=", Figure(150, "ms")),
    )


def _once() -> tuple[float, float, float]:
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    pydantic, bare, names = done.stdout.split()
    return float(pydantic), float(bare), float(names)
