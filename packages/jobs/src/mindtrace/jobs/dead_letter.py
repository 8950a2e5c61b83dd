"""`DeadLetter`: a job that ended without success, as a user sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from mindtrace.jobs import wire

if TYPE_CHECKING:
    from mindtrace.jobs.backend import DeadRecord
    from mindtrace.jobs.job import JobDict


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job in the dead letters of its queue, kept until it is requeued or discarded.

    Attributes:
        job_id: the job's id.
        queue: the queue that it was published to.
        reason: `failed` (attempts used up), `rejected`, `invalid` (no job, or refused by its
            schema) or `poison` (its deliveries were lost too often).
        error_type: the class name of the last error.
        message: its text.
        traceback: its traceback, at most the last 64 KiB.
        attempts: how often a handler failed.
        lost: how many deliveries ended without an answer.
        died_at: when, in UTC.
        job: the whole job; None when the message is not one.
        body: the message as it was published.
    """

    job_id: str
    queue: str
    reason: str
    error_type: str
    message: str
    traceback: str
    attempts: int
    lost: int
    died_at: datetime
    job: JobDict | None = field(repr=False)
    body: str = field(repr=False)

    @classmethod
    def of(cls, record: DeadRecord) -> Self:
        """Return the dead letter of a store's record."""
        job: JobDict | None = None
        try:
            job = wire.decode(record.delivery)
            job.pop("options")
            job.update(status="failed", error=record.failure.message)
        except wire.Undecodable:
            pass  # its body tells what it is
        return cls(
            job_id=record.delivery.id,
            queue=record.delivery.queue,
            reason=record.failure.reason,
            error_type=record.failure.error_type,
            message=record.failure.message,
            traceback=record.failure.traceback,
            attempts=record.delivery.attempts,
            lost=record.delivery.lost,
            died_at=datetime.fromtimestamp(record.died_at, UTC),
            job=job,
            body=record.delivery.body,
        )
