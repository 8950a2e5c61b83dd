"""How large a consumer's process is, and whether it grows."""

from collections.abc import Iterator

import psutil

from tools.benchmarks.children import Child, python
from tools.benchmarks.contestants import Contestant
from tools.benchmarks.pair import both
from tools.benchmarks.report import Bar, Figure, Row
from tools.benchmarks.settings import Settings

PATIENCE = 600.0


def memory(settings: Settings) -> Iterator[Row]:
    """Look at the resident memory after a first thousand jobs and after very many."""
    early, late = settings.settled, settings.lasting
    with both(settings) as (ours, floor, place):
        with python("our_child", "count", *place) as child:
            first, last = _sizes(ours, child, early, late)
        with python("floor_child", *place) as plain:
            raw_first, raw_last = _sizes(floor, plain, early, late)
    yield Row(
        measure=f"RSS of a consumer process after {late:,} jobs",
        ours=Figure(last, "MiB"),
        who="raw",
        against=Figure(raw_last, "MiB"),
        ratio=last / raw_last,
        bar=Bar("<=", Figure(45, "MiB")),
    )
    yield Row(
        measure=f"RSS growth from job {early:,} to job {late:,}",
        ours=Figure(last - first, "MiB"),
        who="raw",
        against=Figure(raw_last - raw_first, "MiB"),
        bar=Bar("<", Figure(10, "MiB")),
    )


def _sizes(publisher: Contestant, child: Child, early: int, late: int) -> tuple[float, float]:
    publisher.publish_many(late)
    return _after(child, early), _after(child, late - early)


def _after(child: Child, count: int) -> float:
    child.say(str(count))
    child.hear(PATIENCE)
    return psutil.Process(child.pid).memory_info().rss / 2**20
