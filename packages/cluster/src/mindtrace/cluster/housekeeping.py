"""`Housekeeping`: forgets what is of no use any more, while a manager lives."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mindtrace.cluster.submission import UNROUTED
from mindtrace.core.clock import SystemClock
from mindtrace.core.errors import MindtraceError
from mindtrace.core.log import get_logger

if TYPE_CHECKING:
    from mindtrace.cluster.members import Members
    from mindtrace.cluster.ports.state import StateStore
    from mindtrace.cluster.records import Records
    from mindtrace.core.clock import Clock

EVERY = 60.0
"""Seconds between two looks, at most."""

PAGE = 500

_log = get_logger(__name__)


class Housekeeping:
    """Forgets jobs, workers and nodes, in a thread of its own.

    The queue forgets the outcome of a job when its time is over. Then the index forgets the job; it
    keeps those that wait, run, or are dead letters, however old they are. Any number of managers
    may do this at the same time.

    Args:
        records: What is known of jobs.
        members: The workers and nodes.
        state: Where the index is.
        keep: Seconds that an outcome is kept.
    """

    def __init__(
        self,
        records: Records,
        members: Members,
        state: StateStore,
        *,
        keep: float,
        clock: Clock | None = None,
    ) -> None:
        self._records = records
        self._members = members
        self._state = state
        self._keep = keep
        self._clock = clock or SystemClock()
        self._ending = threading.Event()
        self._failed = False
        self._thread = threading.Thread(
            target=self._run, name="mindtrace-housekeeping", daemon=True
        )

    def begin(self) -> None:
        """Look every minute from now on."""
        self._thread.start()

    def end(self) -> None:
        """Stop."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def tidy(self) -> int:
        """Look for jobs once; return how many were forgotten."""
        before = self._clock.now() - self._keep
        count = after = 0
        while page := self._state.indexed(after, PAGE):
            old = [each.job_id for each in page if each.submitted_at < before]
            if not old or self._ending.is_set():
                break
            after = page[-1].number
            known = self._records.find_all(old)
            gone = [each for each in old if each not in known]
            for each in self._state.get_many(UNROUTED, gone):
                self._state.remove(UNROUTED, each)
            count += self._state.forget(gone, before)
        return count

    def _run(self) -> None:
        while not self._ending.wait(min(EVERY, self._keep)):
            try:
                self.tidy()
                self._members.forget()
            except MindtraceError as error:
                if not self._failed:
                    _log.warning("What is old could not be looked for: %s", error)
                self._failed = True
            else:
                self._failed = False
