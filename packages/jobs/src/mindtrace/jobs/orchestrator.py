"""`Orchestrator`: registers schemas, declares queues, publishes jobs and administers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from mindtrace.core import Mindtrace, TaskSchema
from mindtrace.jobs.backend import QueueSpec
from mindtrace.jobs.client import PAGE, OrchestratorBackend, checked_name
from mindtrace.jobs.errors import JobValidationError, QueueNotFoundError, SchemaNotFoundError
from mindtrace.jobs.handle import JobHandle
from mindtrace.jobs.job import Job, input_of, job_from_schema
from mindtrace.jobs.loading import backend_from_settings
from mindtrace.jobs.publishing import PLAIN, PublishOptions, Target
from mindtrace.jobs.retry import check_retry
from mindtrace.jobs.routing import QUEUE_MAPPING, JobType, get_queue_for_job
from mindtrace.jobs.secrecy import refuse_secrets
from mindtrace.jobs.wire import problems_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mindtrace.jobs.backend import QueueStats, QueueType
    from mindtrace.jobs.consumer_backend import ConsumerBackend
    from mindtrace.jobs.dead_letter import DeadLetter
    from mindtrace.jobs.job import JobDict


class Orchestrator(Mindtrace):
    """The producing and administering side of one backend. Thread-safe.

    Schemas are registered in this object, in memory: a consumer's process registers its own.

    Args:
        backend: the client; by default the one of `MINDTRACE_JOBS__BACKEND_URL`, else a
            `LocalClient`.
        orchestrator_dir: the folder of that `LocalClient`.
    """

    def __init__(
        self,
        backend: OrchestratorBackend | None = None,
        orchestrator_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.backend = backend or backend_from_settings(orchestrator_dir)
        self._schemas: dict[str, TaskSchema] = {}
        self._targets: dict[str, Target] = {}

    # schemas and queues

    def register(
        self,
        schema: TaskSchema,
        queue_type: QueueType | str | None = None,
        **options: Any,
    ) -> str:
        """Declare the queue of a schema, validate what is published to it, and return its name.

        `queue_type` and `options` are those of `declare_queue`.
        """
        check_retry(schema.retry)
        if schema.input_schema is not None:
            refuse_secrets(schema.input_schema)
        self.declare_queue(schema.name, queue_type, **options)
        self._schemas[schema.name] = schema
        self._targets.pop(schema.name, None)
        return schema.name

    def schema_of(self, queue_name: str) -> TaskSchema | None:
        """Return the schema registered here for a queue."""
        return self._schemas.get(queue_name)

    def get_schema_for_job_type(self, name: str) -> dict[str, Any] | None:
        """Return `{"schema": ..., "queue_name": ...}` of a registered schema, or None."""
        schema = self._schemas.get(name)
        return {"schema": schema, "queue_name": name} if schema else None

    def declare_queue(
        self,
        queue_name: str,
        queue_type: QueueType | str | None = None,
        **options: Any,
    ) -> dict[str, str]:
        """Make a queue exist; see `OrchestratorBackend.declare_queue`."""
        said = self.backend.declare_queue(queue_name, queue_type, **options)
        self._targets.pop(queue_name, None)
        return said

    def ensure_queue(self, queue_name: str) -> None:
        """Declare a queue (fifo) if it is missing, with one line in the log."""
        if self.backend.store.declare_queue(QueueSpec(checked_name(queue_name))):
            self.logger.info("Queue %r did not exist and was declared as fifo.", queue_name)

    def delete_queue(self, queue_name: str) -> dict[str, str]:
        """Remove a queue with everything in it."""
        self._targets.pop(queue_name, None)
        return self.backend.delete_queue(queue_name)

    def clean_queue(self, queue_name: str) -> int:
        """Remove ready and delayed jobs and return how many; running and dead ones stay."""
        return self.backend.clean_queue(queue_name)

    def count_queue_messages(self, queue_name: str) -> int:
        """Return how many jobs are ready."""
        return self.backend.count_queue_messages(queue_name)

    def queue_stats(self, queue_name: str) -> QueueStats:
        """Return the counts of a queue and the age of its oldest ready job."""
        return self.backend.queue_stats(queue_name)

    # publishing

    def publish(
        self,
        queue_name: str | Job | BaseModel,
        job: Job | BaseModel | None = None,
        **options: Any,
    ) -> str:
        """Publish a job, or an input model of the queue's schema; return its id once it is safe.

        `publish(job)` without a queue routes by itself: an explicit job type by `QUEUE_MAPPING`,
        then the registered schema that the job names, then the one whose input it is, else
        `default_jobs`.

        After `BackendUnavailableError` the job may or may not be there; publishing the same `Job`
        again is safe.

        Args:
            queue_name: the queue; it must exist.
            job: what to publish.
            **options: the fields of `PublishOptions`: priority, delay, at, ttl, dedup_key, ...

        Raises:
            QueueNotFoundError: there is no such queue.
            SchemaNotFoundError: an input model, and no schema is registered for the queue.
            JobValidationError: the payload does not fit the schema; nothing is published.
            PayloadTooLargeError: the job's text is larger than the client's `max_payload`.
            DuplicateJobError: a job of that id exists elsewhere or has finished.
            ValueError: an option means nothing.
        """
        chosen = PublishOptions(**options) if options else PLAIN
        if not isinstance(queue_name, str):
            return self._publish(self._route(queue_name), [queue_name], chosen)[0]
        if job is None:
            message = "what is to be published? publish(queue, job) or publish(job)"
            raise ValueError(message)
        return self._publish(queue_name, [job], chosen)[0]

    def publish_many(
        self,
        queue_name: str,
        jobs: Sequence[Job | BaseModel],
        **options: Any,
    ) -> list[str]:
        """Publish many jobs in one transaction, all or none; return their ids in order."""
        return self._publish(queue_name, jobs, PublishOptions(**options) if options else PLAIN)

    def submit(
        self,
        schema: TaskSchema,
        input_data: BaseModel | dict[str, Any] | None = None,
        **options: Any,
    ) -> JobHandle:
        """Publish a job of a schema, keep its outcome, and return a handle on it.

        The schema is registered if it is not yet. `input_data` None takes the schema's defaults.
        """
        if self._schemas.get(schema.name) is not schema:
            self.register(schema)
        try:
            job = job_from_schema(schema, {} if input_data is None else input_data)
        except ValidationError as error:
            raise JobValidationError(schema.name, problems_of(error)) from None
        options.setdefault("keep_result", True)
        chosen = PublishOptions(**options)
        job_id = self._publish(schema.name, [job], chosen)[0]
        return JobHandle(self.backend.store, job_id, lambda _queue: schema)

    def _publish(
        self, queue_name: str, jobs: Sequence[Job | BaseModel], options: PublishOptions
    ) -> list[str]:
        target = self._targets.get(queue_name) or self._target(queue_name)
        expected = target.schema.input_schema if target.schema else None
        for job in jobs:
            if type(job) is not expected and not isinstance(job, Job):
                self._check_model(target, job)
        try:
            return self.backend.publish_entries(target, jobs, options)
        except QueueNotFoundError:
            self._targets.pop(queue_name, None)
            raise

    def _target(self, queue_name: str) -> Target:
        """Return a queue with its schema; its options are read once, at the first publish."""
        found = self.backend.target(queue_name, self._schemas.get(queue_name))
        self._targets[queue_name] = found
        return found

    def _check_model(self, target: Target, model: object) -> None:
        if not isinstance(model, BaseModel):
            message = (
                f"publish takes a Job or a pydantic model, not {type(model).__name__}; "
                "job_from_schema(schema, {...}) makes a Job of a dict"
            )
            raise ValueError(message)  # noqa: TRY004 - the documented type
        if target.schema is None:
            raise SchemaNotFoundError(target.queue, self._schemas)

    def _route(self, job: Job | BaseModel) -> str:
        """Say which queue a job without one goes to; mapped queues are declared on first use."""
        if isinstance(job, Job):
            if job.job_type is JobType.DEFAULT and job.schema_name in self._schemas:
                return job.schema_name
            if job.job_type is not JobType.DEFAULT:
                return self._mapped(get_queue_for_job(job))
        given: Any = input_of(job.payload) if isinstance(job, Job) else job
        for name, schema in self._schemas.items():
            if schema.input_schema is type(given):
                return name
        return self._mapped(QUEUE_MAPPING[JobType.DEFAULT])

    def _mapped(self, queue_name: str) -> str:
        if queue_name not in self._targets:
            self.ensure_queue(queue_name)
        return queue_name

    # taking and administering

    def receive_message(
        self,
        queue_name: str,
        block: bool = False,  # noqa: FBT001, FBT002 - the older signature
        timeout: float | None = None,
    ) -> JobDict | None:
        """Take one job out of a queue and settle it in the same step; None when there is none.

        At most once: a crash right after this call loses the job.
        """
        return self.backend.receive_message(queue_name, block=block, timeout=timeout)

    def dead_letters(
        self, queue_name: str, limit: int = PAGE, after: str | None = None
    ) -> list[DeadLetter]:
        """Return up to `limit` dead letters, oldest death first; `after` is a page's last id.

        An `after` that was requeued or discarded meanwhile begins at the first page again.
        """
        return self.backend.dead_letters(queue_name, limit, after)

    def requeue_dead_letters(
        self, queue_name: str, job_ids: str | Sequence[str] | None = None
    ) -> int:
        """Make dead letters ready again (None: all) with fresh counters; return how many."""
        return self.backend.requeue_dead_letters(queue_name, job_ids)

    def discard_dead_letters(
        self, queue_name: str, job_ids: str | Sequence[str] | None = None
    ) -> int:
        """Remove dead letters for good (None: all); return how many."""
        return self.backend.discard_dead_letters(queue_name, job_ids)

    def handle(self, job_id: str) -> JobHandle:
        """Return a handle on a job by its id; a result of a registered schema is its model."""
        return JobHandle(self.backend.store, job_id, self.schema_of)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that has not finished; see `OrchestratorBackend.cancel`."""
        return self.backend.cancel(job_id)

    def create_consumer_backend_for_schema(self, schema: TaskSchema) -> ConsumerBackend:
        """Return the backend's engine for the queue of a schema, for older code."""
        return self.backend.create_consumer_backend(schema.name, self)

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()
