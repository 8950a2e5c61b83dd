"""`JobHandle`: one job, seen by whoever submitted it."""

from __future__ import annotations

from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from mindtrace.jobs import wire
from mindtrace.jobs.errors import (
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobTimeoutError,
)
from mindtrace.jobs.job import ExecutionStatus
from mindtrace.jobs.lifecycle import UNFINISHED, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import ThreadPoolExecutor

    from mindtrace.core import TaskSchema
    from mindtrace.jobs.backend import JobRecord, Store

SLICE = 1.0
"""Seconds that one blocking look lasts at most; an awaiting task can be cancelled between."""

MOST_AWAITED = 128
"""Handles that are awaited at a time in one process; more of them take turns."""

_STATUS = {
    JobState.READY: ExecutionStatus.QUEUED,
    JobState.DELAYED: ExecutionStatus.QUEUED,
    JobState.LEASED: ExecutionStatus.RUNNING,
    JobState.DEAD: ExecutionStatus.FAILED,
    JobState.COMPLETED: ExecutionStatus.COMPLETED,
    JobState.CANCELLED: ExecutionStatus.CANCELLED,
}


@lru_cache(maxsize=1)
def _waiters() -> ThreadPoolExecutor:
    """Return the threads in which handles are awaited: the loop's own few would soon be used up."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only for those who await

    return ThreadPoolExecutor(MOST_AWAITED, thread_name_prefix="mindtrace-handle")


class ProgressReport(NamedTuple):
    """How far a job said it is."""

    done: float
    total: float | None


class JobHandle:
    """Follows one job: its status, progress and result. Reading changes nothing.

    A job whose outcome is not kept is unknown once it has finished.
    """

    def __init__(
        self, store: Store, job_id: str, schema_of: Callable[[str], TaskSchema | None] | None = None
    ) -> None:
        self.id = job_id
        self._store = store
        self._schema_of = schema_of

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.id

    @property
    def status(self) -> ExecutionStatus:
        """How far the job is now.

        Raises:
            JobNotFoundError: nothing is known of it (any more).
        """
        return _STATUS[JobState(self._record().state)]

    @property
    def progress(self) -> ProgressReport | None:
        """What the handler last said with `Consumer.progress`; None if it said nothing."""
        found = self._record().progress
        return None if found is None else ProgressReport(*found)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the job has finished and return its output.

        The output is an instance of the schema's output model where this handle knows the schema,
        else plain values; None for a handler that returned None.

        Args:
            timeout: seconds to wait; None waits for ever, 0 looks once.

        Raises:
            JobFailedError: the job is dead; the error has the remote traceback.
            JobCancelledError: it was cancelled, purged or expired.
            JobTimeoutError: it has not finished in time; it goes on, and can be asked again.
            JobNotFoundError: nothing is known of it (any more).
        """
        end = None if timeout is None else monotonic() + timeout
        while True:
            left = SLICE if end is None else max(0.0, end - monotonic())
            record = self._store.wait_finished(self.id, min(left, SLICE))
            if record is None:
                raise JobNotFoundError(self.id)
            if JobState(record.state) not in UNFINISHED:
                return self._outcome(record)
            if end is not None and monotonic() >= end:
                raise JobTimeoutError(self.id, timeout or 0.0)

    def cancel(self) -> bool:
        """Cancel the job; False when it has finished already."""
        return self._store.cancel(self.id)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._wait().__await__()

    def __repr__(self) -> str:
        """Name the job without looking it up."""
        return f"JobHandle({self.id!r})"

    async def _wait(self) -> Any:
        import asyncio  # noqa: PLC0415 - whoever awaits has loaded it

        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(_waiters(), self.result, SLICE)
            except JobTimeoutError:
                continue

    def _record(self) -> JobRecord:
        record = self._store.record(self.id)
        if record is None:
            raise JobNotFoundError(self.id)
        return record

    def _outcome(self, record: JobRecord) -> Any:
        if record.state == JobState.DEAD:
            failure = record.failure
            facts = (
                (failure.error_type, failure.message, failure.traceback) if failure else ("", "")
            )
            raise JobFailedError(self.id, *facts)
        if record.state == JobState.CANCELLED:
            raise JobCancelledError(self.id, record.reason or "cancelled")
        if record.result is None:
            return None
        schema = self._schema_of(record.queue) if self._schema_of else None
        return wire.read_result(schema, record.result)
