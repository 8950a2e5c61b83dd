"""How large a consumer's process is, and whether it grows."""

from collections.abc import Iterator

import psutil

from tools.benchmarks.children import Child
from tools.benchmarks.contestants import Contestant
from tools.benchmarks.report import Figure, Row, limit
from tools.benchmarks.stage import Stage

PATIENCE = 600.0


def memory(stage: Stage) -> Iterator[Row]:
    """Look at the resident memory after a first thousand jobs and after very many."""
    early, late = stage.settings.settled, stage.settings.lasting
    with stage.both() as pair:
        with pair.our_child("count") as child:
            first, last = _sizes(pair.ours, child, early, late)
        with pair.floor_child() as plain:
            raw_first, raw_last = _sizes(pair.floor, plain, early, late)
    yield Row(
        measure=f"RSS of a consumer process after {late:,} jobs",
        ours=Figure(last, "MiB"),
        who="raw",
        against=Figure(raw_last, "MiB"),
        ratio=last / raw_last,
        bar=limit("<=", stage.bars.memory, "MiB"),
    )
    yield Row(
        measure=f"RSS growth from job {early:,} to job {late:,}",
        ours=Figure(last - first, "MiB"),
        who="raw",
        against=Figure(raw_last - raw_first, "MiB"),
        bar=limit("<", stage.bars.growth, "MiB"),
    )


def _sizes(publisher: Contestant, child: Child, early: int, late: int) -> tuple[float, float]:
    publisher.fill(late)
    return _after(child, early), _after(child, late - early)


def _after(child: Child, count: int) -> float:
    child.say(str(count))
    child.hear(PATIENCE)
    return psutil.Process(child.pid).memory_info().rss / 2**20
