"""The states of a job and the only ways between them, as one table.

The SQL check of the local store, the model machine of `mindtrace.jobs.testing` and the diagram in
`docs/job-life-cycle.md` are each tested against this table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class JobState(IntEnum):
    """Where a job is. The number is what the stores write."""

    READY = 0
    DELAYED = 1
    LEASED = 2
    DEAD = 3
    COMPLETED = 4
    CANCELLED = 5


class Transition(NamedTuple):
    """One way from a state to another; `None` stands for outside of the queue."""

    cause: str
    source: JobState | None
    target: JobState | None


TRANSITIONS = (
    Transition("publish", None, JobState.READY),
    Transition("publish with a delay", None, JobState.DELAYED),
    Transition("due", JobState.DELAYED, JobState.READY),
    Transition("receive", JobState.READY, JobState.LEASED),
    Transition("complete", JobState.LEASED, JobState.COMPLETED),
    Transition("retry at once", JobState.LEASED, JobState.READY),
    Transition("retry after a pause", JobState.LEASED, JobState.DELAYED),
    Transition("release", JobState.LEASED, JobState.READY),
    Transition("lease lost", JobState.LEASED, JobState.READY),
    Transition("reject, attempts used up or poison", JobState.LEASED, JobState.DEAD),
    Transition("cancel", JobState.READY, JobState.CANCELLED),
    Transition("cancel", JobState.DELAYED, JobState.CANCELLED),
    Transition("cancel", JobState.LEASED, JobState.CANCELLED),
    Transition("purge", JobState.READY, None),
    Transition("purge", JobState.DELAYED, None),
    Transition("expire", JobState.READY, None),
    Transition("expire", JobState.DELAYED, None),
    Transition("requeue", JobState.DEAD, JobState.READY),
    Transition("discard", JobState.DEAD, None),
    Transition("forget", JobState.COMPLETED, None),
    Transition("forget", JobState.CANCELLED, None),
)
"""Every transition. A completed or cancelled job without a kept outcome is forgotten at once."""

UNFINISHED = frozenset({JobState.READY, JobState.DELAYED, JobState.LEASED})


def allowed(source: JobState | None, target: JobState | None) -> bool:
    """Tell whether the table has a way from `source` to `target`."""
    return any(each.source == source and each.target == target for each in TRANSITIONS)
