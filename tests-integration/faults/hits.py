"""What was under way at a moment, by the journal's account: whether a fault hit anything."""

import time
from collections.abc import Sequence

from crew import Crew, Worker
from journal import Line


def running_at(moment: float, lines: Sequence[Line]) -> set[str]:
    """Return the jobs whose handler had begun and not come to its end."""
    begun = {(each.job, each.delivery): each.at for each in lines if each.phase == "begin"}
    ended = {(each.job, each.delivery): each.at for each in lines if each.phase == "effect"}
    return {
        job
        for (job, delivery), at in begun.items()
        if at < moment < ended.get((job, delivery), float("inf"))
    }


def publishing_at(moment: float, lines: Sequence[Line]) -> set[str]:
    """Return the batches that were being published."""
    begun = {each.job: each.at for each in lines if each.phase == "publishing"}
    ended = {each.job: each.at for each in lines if each.phase == "published"}
    return {name for name, at in begun.items() if at < moment < ended.get(name, float("inf"))}


def a_job_runs(crew: Crew) -> bool:
    """Tell whether a handler runs now."""
    return bool(running_at(time.monotonic(), crew.journal.lines()))


def publishes(publisher: Worker) -> bool:
    """Tell whether a call of publish is under way now."""
    return bool(publishing_at(time.monotonic(), publisher.lines()))
