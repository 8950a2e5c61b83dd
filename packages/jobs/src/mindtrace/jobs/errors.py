"""Every error that the jobs package raises on purpose.

    MindtraceError                                   (mindtrace.core)
    └── JobsError
        ├── QueueError
        │   ├── QueueNotFoundError                   KeyError, ValueError
        │   ├── QueueTypeMismatchError               ValueError
        │   └── UnsupportedByBackendError            NotImplementedError
        ├── SchemaNotFoundError                      ValueError
        ├── JobValidationError                       ValueError
        ├── PayloadTooLargeError                     ValueError
        ├── DuplicateJobError                        ValueError
        ├── JobNotFoundError                         LookupError
        ├── JobFailedError · JobCancelledError
        ├── JobTimeoutError                          TimeoutError
        ├── StaleDeliveryError
        └── BackendUnavailableError                  ConnectionError

Constructors take facts and keep them as attributes; no message holds a payload or a password.
The builtin beside a name is a second base, so that older code which catches it goes on working.
`Retry` and `Reject`, which a handler raises to steer its job, live in `retry.py`: they are not
failures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindtrace.core import MindtraceError

if TYPE_CHECKING:
    from collections.abc import Iterable


LISTED = 20
"""Known names that a message lists at most."""


class JobsError(MindtraceError):
    """The base of every error of the jobs package."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling (process pools do it): facts travel as attributes, not as arguments."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[JobsError], args: tuple[Any, ...], facts: dict[str, Any]) -> JobsError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class QueueError(JobsError):
    """Something is wrong with the queue that was named."""


class QueueNotFoundError(QueueError, KeyError, ValueError):
    """No queue of that name is declared."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.known = sorted(known)
        listed = ", ".join(repr(each) for each in self.known[:LISTED]) or "none"
        more = f" and {len(self.known) - LISTED} more" if len(self.known) > LISTED else ""
        super().__init__(
            f"There is no queue {name!r}; known queues: {listed}{more}. "
            f"Declare it with declare_queue({name!r}) or register a schema of that name."
        )

    def __str__(self) -> str:
        """The sentence itself: KeyError would show its repr."""
        return str(self.args[0])


class QueueTypeMismatchError(QueueError, ValueError):
    """The queue exists with another type than the one asked for."""

    def __init__(self, name: str, declared: str, requested: str) -> None:
        self.name = name
        self.declared = declared
        self.requested = requested
        super().__init__(
            f"Queue {name!r} is a {declared} queue and cannot become a {requested} queue. "
            "Leave queue_type out to use it as it is, or delete it first."
        )


class UnsupportedByBackendError(QueueError, NotImplementedError):
    """The backend cannot do what was asked, and says so instead of doing something else."""

    def __init__(self, what: str, backend: str, instead: str) -> None:
        self.what = what
        self.backend = backend
        self.instead = instead
        super().__init__(f"The {backend} backend does not support {what}. {instead}")


class SchemaNotFoundError(JobsError, ValueError):
    """An input model was published to a queue for which no schema is registered."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.known = sorted(known)
        listed = ", ".join(repr(each) for each in self.known) or "none"
        super().__init__(
            f"Schema {name!r} not found; registered here: {listed}. "
            "Call register(schema) first, or publish a Job."
        )


class JobValidationError(JobsError, ValueError):
    """A payload or a result does not fit its schema; `problems` has one sentence a field."""

    def __init__(self, schema: str, problems: list[str], *, part: str = "payload") -> None:
        self.schema = schema
        self.problems = problems
        self.part = part
        super().__init__(f"The {part} does not fit schema {schema!r}: {'; '.join(problems)}.")


class PayloadTooLargeError(JobsError, ValueError):
    """A job is larger than the limit of its client."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"The job has {size:,} bytes, the limit is {limit:,}. Put large data into a file or a "
            "bucket and publish its address, or raise max_payload on the client."
        )


class DuplicateJobError(JobsError, ValueError):
    """A job of that id exists already, where it cannot be the same job."""

    def __init__(self, job_id: str, queue: str, state: str) -> None:
        self.job_id = job_id
        self.queue = queue
        self.state = state
        advice = {
            "dead": "requeue or discard that dead letter, or publish under another id",
        }.get(state, "publish under another id")
        super().__init__(f"Job {job_id!r} exists in queue {queue!r} ({state}); {advice}.")


class JobNotFoundError(JobsError, LookupError):
    """Nothing is known of that job (any more)."""

    def __init__(self, job_id: str, message: str | None = None) -> None:
        self.job_id = job_id
        super().__init__(
            message
            or f"Nothing is known of job {job_id!r}: it was never published here, or it has "
            "finished and no outcome was kept. Use submit() or keep_result=True to keep one."
        )


class JobFailedError(JobsError):
    """The job ended in the dead letters; `remote_traceback` is the handler's own."""

    def __init__(
        self, job_id: str, error_type: str, error_message: str, remote_traceback: str = ""
    ) -> None:
        self.job_id = job_id
        self.error_type = error_type
        self.error_message = error_message
        self.remote_traceback = remote_traceback
        tail = f"\n\nRemote traceback:\n{remote_traceback}" if remote_traceback else ""
        super().__init__(f"Job {job_id!r} failed with {error_type}: {error_message}{tail}")


class JobCancelledError(JobsError):
    """The job was cancelled, purged or expired before it gave a result."""

    def __init__(self, job_id: str, reason: str = "cancelled") -> None:
        self.job_id = job_id
        self.reason = reason
        super().__init__(f"Job {job_id!r} was cancelled ({reason}); it has no result.")


class JobTimeoutError(JobsError, TimeoutError):
    """A job ran, or a caller waited, longer than the bound that was set."""

    def __init__(self, job_id: str, seconds: float, *, doing: str = "did not finish") -> None:
        self.job_id = job_id
        self.seconds = seconds
        super().__init__(f"Job {job_id!r} {doing} within {seconds:g} s.")


class StaleDeliveryError(JobsError):
    """A settle came from a holder that no longer holds the job; nothing was changed."""

    def __init__(self, job_id: str, delivery: int) -> None:
        self.job_id = job_id
        self.delivery = delivery
        super().__init__(
            f"Delivery {delivery} of job {job_id!r} is no longer held here; its outcome was "
            "refused. The job was lost, cancelled or deleted meanwhile and may run again elsewhere."
        )


class BackendUnavailableError(JobsError, ConnectionError):
    """The store cannot be used now (`transient`: trying again may help)."""

    def __init__(self, backend: str, address: str, reason: str, *, transient: bool = True) -> None:
        self.backend = backend
        self.address = address
        self.reason = reason
        self.transient = transient
        super().__init__(f"The {backend} backend at {address} cannot be used: {reason}.")
