"""`Records`: the jobs of a cluster, as their queue's own ledger has them. Nothing is kept twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from mindtrace.cluster.core.types import FINISHED, DLQJobStatus, JobStatus, JobStatusEnum
from mindtrace.cluster.errors import no_dead_letter
from mindtrace.cluster.outcome import Outcome, read_failure, read_result
from mindtrace.jobs import DuplicateJobError, Job, Orchestrator
from mindtrace.jobs.backend import Failure
from mindtrace.jobs.lifecycle import UNFINISHED, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mindtrace.jobs import DeadLetter, OrchestratorBackend
    from mindtrace.jobs.backend import JobRecord

PAGE = 100
SLICE = 1.0
"""Seconds that one wait for a job lasts at most, so that whoever waits can be told to stop."""

_WORD = {
    JobState.READY: JobStatusEnum.QUEUED,
    JobState.DELAYED: JobStatusEnum.QUEUED,
    JobState.LEASED: JobStatusEnum.RUNNING,
    JobState.DEAD: JobStatusEnum.FAILED,
    JobState.COMPLETED: JobStatusEnum.COMPLETED,
    JobState.CANCELLED: JobStatusEnum.CANCELLED,
}


class Records:
    """Publishes jobs, and tells what became of them. Thread-safe."""

    def __init__(self, backend: OrchestratorBackend, result_ttl: float) -> None:
        self.orchestrator = Orchestrator(backend)
        self._result_ttl = result_ttl

    def declare(self, queue: str) -> None:
        """Make a queue exist that keeps the outcomes of its jobs."""
        self.orchestrator.declare_queue(queue)

    def publish(self, queue: str, jobs: Sequence[Job]) -> dict[str, JobStatus]:
        """Publish jobs, all or none; safe when it returns.

        One that is there already stays as it is, so that whoever got no answer may repeat the call.

        Returns:
            Those that have finished before, by id.

        Raises:
            DuplicateJobError: an id is that of a job of another queue.
        """
        left = list(jobs)
        finished: dict[str, JobStatus] = {}
        while left:
            try:
                self.orchestrator.publish_many(
                    queue, left, keep_result=True, result_ttl=self._result_ttl
                )
                break
            except DuplicateJobError as error:
                if error.queue != queue:
                    raise
                known = self.find_all([each.id for each in left])
                finished |= {name: each for name, each in known.items() if each.status in FINISHED}
                if error.job_id not in finished:  # else it would be met for ever
                    raise
                left = [each for each in left if each.id not in finished]
        return finished

    def find(self, job_id: str) -> JobStatus | None:
        """Return what is known of a job, or None."""
        record = self.orchestrator.backend.store.record(job_id)
        return None if record is None else _status(record)

    def find_all(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return what is known of each of these jobs, by id; nothing of those that are unknown."""
        found = self.orchestrator.backend.store.records(job_ids)
        return {each.id: _status(each) for each in found if each is not None}

    def wait(self, job_id: str, seconds: float) -> JobStatus | None:
        """Return what is known of a job as soon as it has finished, or when the time is over."""
        record = self.orchestrator.backend.store.wait_finished(job_id, min(seconds, SLICE))
        return None if record is None else _status(record)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that has not finished."""
        return self.orchestrator.cancel(job_id)

    # dead letters

    def dead(self) -> list[DLQJobStatus]:
        """Return the dead letters of all queues, the oldest first."""
        found = [each for queue in self._queues() for each in self._dead_of(queue)]
        found.sort(key=lambda each: each.died_at)
        return [_dead(each) for each in found]

    def requeue(self, job_id: str) -> JobStatus:
        """Make a dead letter ready again, as a fresh job of the same id.

        Raises:
            JobNotFoundError: it is no dead letter (any more).
        """
        if self.orchestrator.requeue_dead_letters(self._queue_of_dead(job_id), job_id) != 1:
            raise no_dead_letter(job_id)
        return self.find(job_id) or JobStatus(job_id=job_id, status=JobStatusEnum.QUEUED)

    def discard(self, job_id: str) -> None:
        """Remove a dead letter for good.

        Raises:
            JobNotFoundError: it is no dead letter (any more).
        """
        if self.orchestrator.discard_dead_letters(self._queue_of_dead(job_id), job_id) != 1:
            raise no_dead_letter(job_id)

    def _queue_of_dead(self, job_id: str) -> str:
        record = self.orchestrator.backend.store.record(job_id)
        if record is None or record.state != JobState.DEAD:
            raise no_dead_letter(job_id)
        return record.queue

    def _dead_of(self, queue: str) -> Iterator[DeadLetter]:
        after: str | None = None
        while True:
            page = self.orchestrator.dead_letters(queue, PAGE, after)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].job_id

    def _queues(self) -> list[str]:
        return list(self.orchestrator.backend.store.queues())

    def empty(self, queues: Sequence[str]) -> None:
        """Remove the jobs of queues that wait, and their dead letters; running ones go on."""
        there = self._queues()
        for queue in (each for each in queues if each in there):
            self.orchestrator.clean_queue(queue)
            self.orchestrator.discard_dead_letters(queue)

    def purge(self, queue: str) -> int:
        """Remove the jobs of a queue that wait; none if there is no such queue."""
        return self.orchestrator.clean_queue(queue) if queue in self._queues() else 0

    def close(self) -> None:
        """Close the connections."""
        self.orchestrator.close()


def _status(record: JobRecord) -> JobStatus:
    state = JobState(record.state)
    outcome = Outcome(_WORD[state], {})
    if state is JobState.COMPLETED:
        outcome = read_result(record.result)
    elif state is JobState.DEAD:
        outcome = read_failure(record.failure)
    return JobStatus(
        job_id=record.id,
        status=outcome.status,
        output=outcome.output,
        worker_id=outcome.worker_id,
        progress=record.progress if state in UNFINISHED else None,
    )


def _dead(letter: DeadLetter) -> DLQJobStatus:
    reason = cast("Any", letter.reason)  # a word that the store checked
    outcome = read_failure(Failure(reason, letter.error_type, letter.message))
    job = _job(letter)
    return DLQJobStatus(
        job_id=letter.job_id,
        status=outcome.status,
        output=outcome.output,
        reason=letter.reason,
        job=job,
        body=letter.body if job is None else None,
    )


def _job(letter: DeadLetter) -> Job | None:
    """Return the job; None for what is none, whoever put it into the queue."""
    found: dict[str, Any] = letter.job or {}
    known = {
        name: value
        for name, value in found.items()
        if name in Job.model_fields and (value is not None or name == "payload")
    }
    try:
        return Job.model_validate(known)
    except ValidationError:
        return None
