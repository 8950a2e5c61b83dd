"""How long importing the package takes, beyond pydantic which every user has loaded anyway."""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.settings import Settings
from tools.commands import ROOT

_PROGRAM = """
from time import perf_counter
began = perf_counter()
from pydantic import BaseModel
between = perf_counter()
import mindtrace.jobs
print(between - began, perf_counter() - between)
"""


def imports(settings: Settings) -> Iterator[Row]:
    """Import in fresh interpreters; the first one, which may compile, does not count."""
    pairs = [_once() for _ in range(settings.imports + 1)][1:]
    ours = median(pair[1] for pair in pairs)
    pydantic = median(pair[0] for pair in pairs)
    yield Row(
        measure="import mindtrace.jobs, beyond pydantic",
        ours=Figure(ours * 1e3, "ms"),
        who="pydantic itself",
        against=Figure(pydantic * 1e3, "ms"),
        ratio=ours / pydantic,
        bar=Bar("<=", Figure(150, "ms")),
    )


def _once() -> tuple[float, float]:
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    pydantic, ours = done.stdout.split()
    return float(pydantic), float(ours)
