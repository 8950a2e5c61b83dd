"""From what a user publishes to an `Entry`: checking and serialising, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pydantic import BaseModel

from mindtrace.jobs import wire
from mindtrace.jobs.backend import Entry, Queue, QueueOptions, QueueType
from mindtrace.jobs.errors import JobValidationError
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.job import Job, input_of
from mindtrace.jobs.retry import check_retry
from mindtrace.jobs.seconds import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.core import TaskSchema
    from mindtrace.jobs.retry import RetryPolicy

_PRIORITY_LIMIT = 1 << 62


class Target(NamedTuple):
    """A queue as a publisher sees it."""

    queue: str
    queue_type: QueueType
    options: QueueOptions
    schema: TaskSchema | None
    keep: float | None
    """Seconds the outcome of a job is kept that says nothing itself."""

    @classmethod
    def of(cls, queue: Queue, schema: TaskSchema | None) -> Self:
        """Return the target for a queue and the schema registered for it."""
        target = cls(queue.name, queue.queue_type, queue.options, schema, None)
        return target._replace(keep=PLAIN.keep(target))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What can be said with one publish; checked when it is made.

    Attributes:
        priority: higher runs first in a priority queue; elsewhere carried without effect.
        delay: seconds before which the job does not run.
        at: the moment before which it does not run; a datetime with a time zone.
        ttl: seconds after which it expires wherever it waits: before its first run or its next.
        dedup_key: while a job of that key is unfinished in the queue, this publish adds nothing.
        dedup_ttl: seconds from its publish for which the key counts even when the job has finished.
        retry: the job's retry policy, before those of handler, schema and queue.
        timeout: seconds its handler may run, likewise.
        keep_result: whether its outcome is kept, likewise.
        result_ttl: seconds a kept outcome stays readable, likewise.
    """

    priority: int | None = None
    delay: float | None = None
    at: datetime | None = None
    ttl: float | None = None
    dedup_key: str | None = None
    dedup_ttl: float | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None
    keep_result: bool | None = None
    result_ttl: float | None = None

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        check_priority(self.priority)
        if self.delay is not None and self.at is not None:
            message = "give either delay= or at=, not both"
            raise ValueError(message)
        checked_seconds("delay", self.delay, above=False)
        for name in ("ttl", "timeout", "result_ttl"):
            checked_seconds(name, getattr(self, name))
        checked_seconds("dedup_ttl", self.dedup_ttl, above=False)
        check_retry(self.retry)
        if self.dedup_key is not None and not is_text(self.dedup_key):
            message = f"dedup_key takes text that is not empty, not {type(self.dedup_key).__name__}"
            raise ValueError(message)
        if self.at is not None and (not _is_datetime(self.at) or self.at.tzinfo is None):
            message = "at= takes a datetime with a time zone, such as datetime.now(UTC) + ..."
            raise ValueError(message)
        if self.dedup_ttl is not None and self.dedup_key is None:
            message = "dedup_ttl= goes with dedup_key="
            raise ValueError(message)

    def seconds_of_delay(self, now: float) -> float:
        """Return how long to hold the job back; a moment in the past is no delay."""
        if self.at is not None:
            return max(0.0, self.at.timestamp() - now)
        return self.delay or 0.0

    def run_options(self) -> dict[str, Any]:
        """Return what travels with the job to whoever runs it."""
        chosen = {"retry": self.retry and self.retry.to_json(), "timeout": self.timeout}
        return {name: value for name, value in chosen.items() if value is not None}

    def keep(self, target: Target) -> float | None:
        """Return the seconds that the outcome is kept; None for not at all."""
        schema, options = target.schema, target.options
        wanted = self.keep_result
        if wanted is None and schema is not None:
            wanted = schema.keep_result
        if not (options.keep_result if wanted is None else wanted):
            return None
        return self.result_ttl or (schema and schema.result_ttl) or options.result_ttl


def check_priority(priority: object) -> None:
    """Raise ValueError unless it is None or an integer that every store can order by."""
    if priority is None:
        return
    if not isinstance(priority, int) or isinstance(priority, bool):
        message = f"priority takes an integer, not {type(priority).__name__}"
        raise ValueError(message)  # noqa: TRY004 - the documented type
    if abs(priority) >= _PRIORITY_LIMIT:
        message = "priority lies between -2**62 and 2**62"
        raise ValueError(message)


def _is_datetime(value: object) -> bool:
    return isinstance(value, datetime)


def is_text(value: object) -> bool:
    """Tell whether a value is text that every store takes: not empty, no lone surrogates."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value != ""


PLAIN = PublishOptions()


def entries_of(
    target: Target,
    jobs: Sequence[Job | BaseModel],
    options: PublishOptions,
    now: float,
    limit: int,
) -> list[Entry]:
    """Return the entries for jobs and for bare inputs of the target's schema.

    Raises:
        JobValidationError: a payload does not fit the target's schema, or has no JSON form.
        PayloadTooLargeError: the text of one is larger than `limit` bytes.
    """
    schema = target.schema
    name = schema.name if schema else target.queue
    if options is PLAIN:
        extra: dict[str, Any] = {}
        rest: tuple[float, float | None, float | None, str | None, float] = (
            0.0,
            None,
            target.keep,
            None,
            0.0,
        )
    else:
        extra = options.run_options()
        rest = (
            options.seconds_of_delay(now),
            options.ttl,
            options.keep(target),
            options.dedup_key,
            options.dedup_ttl or 0.0,
        )
    head = wire.input_head(name, now)
    model = schema.input_schema if schema else None
    entries: list[Entry] = []
    for job in jobs:
        priority = options.priority or 0
        if type(job) is model and not extra:
            # the bare input of a schema: nothing else to say, so its text is put together by hand.
            # (The type is compared because isinstance with a pydantic class runs Python code.)
            job_id, body = new_job_id(), f"{head}{wire.model_text(job, name)}}}"
        else:
            whole = job if isinstance(job, Job) else Job(name=name, payload=job)
            check_priority(whole.priority)
            payload = _fitting(schema, input_of(whole.payload))
            job_id, body = whole.id, wire.encode_job(whole, payload, extra)
            if options.priority is None:
                priority = whole.priority or 0
        wire.check_size(body, limit)
        entries.append(Entry(job_id, body, priority, *rest))
    return entries


def _fitting(schema: TaskSchema | None, payload: Any) -> Any:
    """Return the payload once it is known to fit the schema of the queue, if it has one."""
    model = schema.input_schema if schema else None
    if schema is None or model is None or isinstance(payload, model):
        return payload
    if isinstance(payload, BaseModel):
        problem = f"the whole value: expected {model.__name__}, found {type(payload).__name__}"
        raise JobValidationError(schema.name, [problem])
    return wire.validate_payload(schema, payload)
