"""What a handler can know and say while it runs: the current delivery, progress, cancelling."""

from __future__ import annotations

import os
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Self

from mindtrace.jobs.errors import BackendUnavailableError

if TYPE_CHECKING:
    from types import TracebackType

    from mindtrace.jobs.backend import Delivery, Holder

LOOK_EVERY = 0.1
"""Seconds between two looks of `cancelled()` at the store, and between two writes of progress."""


class Execution:
    """The run of one delivery after the other, by one lane or task."""

    __slots__ = ("_looked_at", "delivery", "holder", "pid", "was_cancelled")

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self.pid = os.getpid()
        self.delivery: Delivery | None = None
        self.was_cancelled = False
        self._looked_at = 0.0

    def begin(self, delivery: Delivery) -> None:
        """A delivery begins to run; it ends when the next one begins or with `end`."""
        self.delivery = delivery
        self.was_cancelled = False
        self._looked_at = 0.0

    def end(self) -> None:
        """Nothing runs."""
        self.delivery = None

    def cancelled(self) -> bool:
        """Tell whether somebody asked to cancel this job; as fresh as `LOOK_EVERY`."""
        now = monotonic()
        if (
            self.delivery is not None
            and not self.was_cancelled
            and now - self._looked_at >= LOOK_EVERY
        ):
            self._looked_at = now
            try:
                self.was_cancelled = self.delivery.id in self.holder.cancelled()
            except BackendUnavailableError:
                return False  # not known now; the engine tells of it at its next settle
        return self.was_cancelled


current: ContextVar[Execution | None] = ContextVar("mindtrace_jobs_execution", default=None)


class Progress:
    """How far the current job is, readable through its handle; outside of a job it does nothing.

    Written at most every 0.1 s and at the end of the block, so that a tight loop may call it
    freely. A store that is away loses progress, never the job.
    """

    def __init__(self, total: float | None) -> None:
        self.total = total
        self.done = 0.0
        execution = current.get()
        # taken now: by the time of a late write the lane may run another delivery
        self._holder = execution.holder if execution else None
        self._delivery = execution.delivery if execution else None
        self._written_at = 0.0
        self._written: float | None = None

    def advance(self, amount: float = 1) -> None:
        """Add to what is done."""
        self.update(self.done + amount)

    def update(self, done: float) -> None:
        """Say how much is done."""
        self.done = done
        if monotonic() - self._written_at >= LOOK_EVERY:
            self._write()

    def __enter__(self) -> Self:
        """Record that nothing is done yet."""
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Record the last state."""
        if self._written != self.done:
            self._write()

    def _write(self) -> None:
        self._written_at = monotonic()
        if self._holder is None or self._delivery is None:
            return
        try:
            self._holder.progress(self._delivery, self.done, self.total)
        except BackendUnavailableError:
            return  # the engine tells of it at its next settle; progress is not worth a job
        self._written = self.done
