"""The contract between the engine and a store: small, batched, and mostly docstring.

A `Store` keeps jobs; a `Holder` is one consumer's hold on it. Policy (retry, validation,
serialisation, prefetch, logging) is decided above and never here. The laws are the numbered rules
of `docs/job-life-cycle.md`; `mindtrace.jobs.testing.BackendContract` checks each of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from mindtrace.jobs.retry import RetryPolicy, check_retry
from mindtrace.jobs.seconds import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs.lifecycle import JobState

QueueType = Literal["fifo", "stack", "priority"]
QUEUE_TYPES: tuple[QueueType, ...] = ("fifo", "stack", "priority")


class BackendType(StrEnum):
    """The backends that are ours."""

    LOCAL = "local"
    REDIS = "redis"
    RABBITMQ = "rabbitmq"


RESULT_TTL = 24 * 3600.0
"""Seconds a kept result stays readable unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do. What it cannot do raises `UnsupportedByBackendError` at the call."""

    queue_types: tuple[QueueType, ...] = QUEUE_TYPES
    job_identity: bool = True
    """Unique ids, dedup keys, cancelling by id, results and a status for each job."""
    delivery_numbers: bool = True
    exact_counts: bool = True
    released_jobs_keep_their_place: bool = True


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What holds for every job of a queue, said when it is declared.

    Attributes:
        max_deliveries: how many deliveries may be lost (crash, cut connection) before the job is
            put to the dead letters as poison. Handler failures do not count here.
        lease: seconds after which a vanished holder's jobs come back, where a store needs such a
            time (Redis); a kernel lock or a connection needs none.
        retry: the queue's retry policy, where neither the publish nor the schema has one.
        timeout: seconds a handler may run; None for no bound.
        keep_result: whether outcomes are kept for jobs that do not say so themselves.
        result_ttl: seconds a kept outcome stays readable.
        dead_letter_ttl: seconds until a dead letter is discarded; None keeps it for ever.
    """

    max_deliveries: int = 5
    lease: float = 15.0
    retry: RetryPolicy | None = None
    timeout: float | None = None
    keep_result: bool = False
    result_ttl: float = RESULT_TTL
    dead_letter_ttl: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not isinstance(self.max_deliveries, int) or self.max_deliveries < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"max_deliveries is at least 1, not {self.max_deliveries!r}"
            raise ValueError(message)
        check_retry(self.retry)
        for name in ("lease", "timeout", "result_ttl", "dead_letter_ttl"):
            checked_seconds(name, getattr(self, name))

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        return {**asdict(self), "retry": self.retry.to_json() if self.retry else None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> QueueOptions:
        """Return the options that `to_json` wrote; names of a later release are passed over."""
        known = {field.name for field in fields(cls)} & values.keys()
        chosen = {name: values[name] for name in known}
        if chosen.get("retry"):
            chosen["retry"] = RetryPolicy.from_json(chosen["retry"])
        return cls(**chosen)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue as it is asked for; `queue_type` None takes the existing type, else fifo.

    `options` None leaves those of an existing queue as they are.
    """

    name: str
    queue_type: QueueType | None = None
    options: QueueOptions | None = None


class Queue(NamedTuple):
    """A queue as it is."""

    name: str
    queue_type: QueueType
    options: QueueOptions


class Entry(NamedTuple):
    """A job on its way into a store. The body is text that the store does not look into."""

    id: str
    body: str
    priority: int = 0
    delay: float = 0.0
    """Seconds before which it is not handed out."""
    ttl: float | None = None
    """Seconds after which it expires wherever it waits: before its first run or its next."""
    keep: float | None = None
    """Seconds its outcome is kept; None keeps none."""
    dedup_key: str | None = None
    dedup_ttl: float = 0.0


class Delivery(NamedTuple):
    """One job leased to one holder, once."""

    entry: int | str
    """The store's own name for the entry, never used twice."""
    id: str
    body: str
    delivery: int
    """Rises at each receive of this entry; never lowered or reset."""
    attempts: int
    """How often a handler failed so far."""
    lost: int
    """How many deliveries ended without a settle."""
    priority: int
    keep: float | None
    queue: str


class Failure(NamedTuple):
    """Why a job is dead."""

    reason: Literal["failed", "rejected", "invalid", "poison"]
    error_type: str
    message: str
    traceback: str = ""


class Settlement(NamedTuple):
    """How one delivery ended.

    ack: completed, `result` is the kept outcome (JSON) if one is wanted.
    nack: ready again after `delay` seconds, with `attempts` as the new count.
    reject: to the dead letters with `failure`, with `attempts` as the new count.
    release: ready again at its place; no count changes.
    """

    delivery: Delivery
    verdict: Literal["ack", "nack", "reject", "release"]
    result: str | None = None
    delay: float = 0.0
    attempts: int = 0
    failure: Failure | None = None


class Reception(NamedTuple):
    """What `Holder.receive` brought: deliveries, and those of its settlements that were stale."""

    deliveries: list[Delivery]
    stale: list[Settlement]


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts of one queue at one moment; looking changes nothing."""

    queue: str
    queue_type: QueueType
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest_ready_age: float | None
    """Seconds since the oldest ready job was published; None without one."""


class DeadRecord(NamedTuple):
    """A dead letter as the store keeps it."""

    delivery: Delivery
    """The last delivery, with its counters; its body is what was published, readable or not."""
    failure: Failure
    died_at: float


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What a store knows of one job."""

    id: str
    queue: str
    state: JobState
    attempts: int
    lost: int
    delivery: int
    progress: tuple[float, float | None] | None = None
    result: str | None = None
    failure: Failure | None = None
    reason: str | None = None
    """Why it was cancelled."""


class StoredJob(NamedTuple):
    """A job as it waits, or lies dead, in one store; what moving it to another needs."""

    entry: int | str
    """The store's own name for it; the next store gives it another."""
    id: str
    body: str
    state: JobState
    """READY, DELAYED or DEAD."""
    priority: int
    published_at: float
    due_at: float | None
    """When a delayed job is due, in seconds since the epoch."""
    expires_at: float | None
    keep: float | None
    delivery: int
    attempts: int
    lost: int
    failure: Failure | None = None
    died_at: float | None = None


class Outlet(Protocol):
    """The way out of one queue of a store, for moving its jobs to another store.

    Jobs come in publish order, dead letters last, in the order of their deaths. Those that a holder
    has are not among them. Nothing leaves the store before `remove`.
    """

    def take(self, limit: int) -> list[StoredJob]:
        """Return up to `limit` of the next jobs, each once; an empty list when there are no more.

        What was taken but not removed is still there after `close`, with all its counters.
        """
        ...

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Remove jobs that were taken; return those that were not there any more.

        Those have been handed to a holder, settled, cancelled or purged meanwhile.
        """
        ...

    def close(self) -> None:
        """Let go of what was taken and not removed."""
        ...


class Inlet(Protocol):
    """The way into one queue of a store, for jobs that come from another one."""

    def add(self, jobs: Sequence[StoredJob]) -> None:
        """Add jobs with their state, counters and failures, all of them or none.

        A job whose id is in this queue already is not added again, so that an interrupted move can
        be repeated. Safe when it returns, as after `publish`.

        Raises:
            DuplicateJobError: an id is in another queue, or has finished with a record kept.
        """
        ...

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Take back jobs that were given to `add`; return those that were not waiting any more.

        Also those that `add` found there: an interrupted move had brought them.
        """
        ...

    def close(self) -> None:
        """Let go of what was looked at."""
        ...


class Holder(Protocol):
    """One consumer's hold on a store: its leases hold while it lives, however long that is."""

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        """Settle, then lease up to `limit` jobs of one of the queues, blocking for the first.

        The settlements are safe before any blocking begins. Queues take turns, beginning after the
        one served last; one call serves one queue. A job with `lost > 0` comes alone.

        Args:
            queues: names; each must exist.
            limit: at most this many deliveries.
            wait: seconds to block for the first job; 0 looks once, None waits until `wake`.
            settlements: outcomes to settle in the same round trip.

        Raises:
            QueueNotFoundError: a queue does not exist; the settlements are safe all the same.
            BackendUnavailableError: nothing is known of the settlements; giving them again is safe.
        """
        ...

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Settle deliveries and return those that were refused as stale; those changed nothing.

        Called outside of `receive`, also with none, it gives back what the holder has taken ahead
        of what `receive` returned: a handler takes long.
        """
        ...

    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        """Lease these very jobs, whatever else waits; None for each that cannot be leased.

        A ready or due job can be; so can, with `steal`, one that another holder has (that delivery
        ends, counted as lost), and one that a dead holder had. A job whose deliveries are used up
        by that goes to the dead letters. For a store that is the ledger of another one.
        """
        ...

    def cancelled(self) -> frozenset[str]:
        """Return the ids, among the jobs held here, whose cancelling was asked for."""
        ...

    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        """Record how far a delivery is. A stale delivery records nothing."""
        ...

    def wake(self) -> None:
        """Make a blocked `receive` return empty-handed; safe in a signal handler or thread."""
        ...

    def close(self) -> None:
        """Let go: what is still held is ready again, counted as lost."""
        ...


class Store(Protocol):
    """Where jobs are kept. Every method is thread-safe and works in a forked child."""

    backend: str
    """The backend's name in messages: local, redis, rabbitmq."""
    address: str
    """Where it is, without credentials."""
    capabilities: Capabilities

    def now(self) -> float:
        """Return the time by which jobs are dated here, in seconds since the epoch."""
        ...

    def declare_queue(self, spec: QueueSpec) -> bool:
        """Make the queue exist and return whether this call made it.

        Raises:
            QueueTypeMismatchError: it exists with a type explicitly different from the one asked
                for.
        """
        ...

    def delete_queue(self, name: str) -> None:
        """Remove the queue with all it has; deliveries still held become stale."""
        ...

    def queues(self) -> dict[str, Queue]:
        """Return every queue by name."""
        ...

    def purge(self, name: str) -> int:
        """Remove ready and delayed jobs and return how many; leased and dead ones stay."""
        ...

    def stats(self, name: str) -> QueueStats:
        """Count, changing nothing."""
        ...

    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        """Add entries, all or none, and return each one's id once all are safe.

        An id that is in this queue unfinished is returned and adds nothing; so is the first job's
        id for a `dedup_key` that still counts.

        Raises:
            DuplicateJobError: an id exists in another queue, or has finished with a record kept.
        """
        ...

    def holder(self) -> Holder:
        """Return a new, living hold on this store."""
        ...

    def dead_letters(self, queue: str, *, limit: int, after: str | None) -> list[DeadRecord]:
        """Return up to `limit` dead letters, oldest death first, those after the given job id."""
        ...

    def requeue_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Make dead letters ready again with fresh counters; the delivery number goes on rising."""
        ...

    def discard_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Remove dead letters for good and return how many."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Cancel an unfinished job, or ask its holder to; False when it has finished already."""
        ...

    def record(self, job_id: str) -> JobRecord | None:
        """Return what is known of a job, or None."""
        ...

    def records(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return what is known of each of these jobs, or None, in a few round trips for all."""
        ...

    def wait_finished(self, job_id: str, wait: float) -> JobRecord | None:
        """Block up to `wait` seconds until the job has finished, and return its record then."""
        ...

    def outlet(self, queue: str) -> Outlet:
        """Return the way out of a queue; see `mindtrace.jobs.migrate`."""
        ...

    def inlet(self, queue: str) -> Inlet:
        """Return the way into a queue; see `mindtrace.jobs.migrate`."""
        ...

    def close(self) -> None:
        """Close; a closed store is not used again. Holders of it end."""
        ...
