"""`OrchestratorBackend`: what a user holds as `LocalClient`, `RedisClient` or `RabbitMQClient`.

It puts the user-facing names over a `Store`. A backend's author writes the store and a subclass
with a constructor.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mindtrace.core import MindtraceABC
from mindtrace.jobs import publishing, wire
from mindtrace.jobs.backend import (
    QUEUE_TYPES,
    Capabilities,
    Holder,
    QueueOptions,
    QueueSpec,
    QueueStats,
    QueueType,
    Settlement,
    Store,
)
from mindtrace.jobs.consumer_backend import ConsumerBackend
from mindtrace.jobs.dead_letter import DeadLetter
from mindtrace.jobs.errors import QueueNotFoundError, UnsupportedByBackendError
from mindtrace.jobs.handle import JobHandle
from mindtrace.jobs.publishing import PLAIN, PublishOptions, Target, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from pydantic import BaseModel

    from mindtrace.core import TaskSchema
    from mindtrace.jobs.executor import Handler
    from mindtrace.jobs.job import Job, JobDict
    from mindtrace.jobs.orchestrator import Orchestrator

LONGEST_NAME = 200
MOST_PRIORITY = 255

PAGE = 100
"""Dead letters returned at most unless said otherwise."""


class OrchestratorBackend(MindtraceABC):
    """A connection to where jobs are kept. Thread-safe; opens nothing before its first use.

    Attributes:
        store: the mechanism below, see `mindtrace.jobs.backend.Store`.
        max_payload: bytes that a job's text may have at most.
    """

    consumer_backend_class: ClassVar[type[ConsumerBackend]] = ConsumerBackend

    def __init__(self, store: Store, *, max_payload: int = wire.MAX_PAYLOAD) -> None:
        super().__init__()
        self.store = store
        self.max_payload = max_payload
        self._takers = threading.local()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the client that a URL of this backend describes."""
        message = f"{cls.__name__} cannot be made from a URL"
        raise NotImplementedError(message)

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        return self.store.capabilities

    @property
    def consumer_backend_args(self) -> dict[str, Any]:
        """What another process needs to connect to the same store: JSON values only."""
        message = f"{type(self).__name__} cannot be reached from another process"
        raise NotImplementedError(message)

    # queues

    def declare_queue(
        self,
        queue_name: str,
        queue_type: QueueType | str | None = None,
        *,
        max_priority: int | None = None,
        **options: Any,
    ) -> dict[str, str]:
        """Make a queue exist, and say how it went as `{"status": ..., "message": ...}`.

        Args:
            queue_name: any text.
            queue_type: fifo, stack or priority; None takes the existing type, else fifo.
            max_priority: makes it a priority queue; the bound itself matters on RabbitMQ only.
            **options: the fields of `QueueOptions`; left out, those of an existing queue stay.

        Raises:
            QueueTypeMismatchError: it exists with another type than the one asked for.
        """
        kind = checked_queue_type(queue_type, max_priority)
        chosen = checked_options(options)
        created = self.store.declare_queue(QueueSpec(checked_name(queue_name), kind, chosen))
        found = "declared" if created else "already exists"
        return {"status": "success", "message": f"Queue {queue_name!r} {found}."}

    def delete_queue(self, queue_name: str) -> dict[str, str]:
        """Remove a queue with all that is in it; the outcomes of running handlers are refused."""
        self.store.delete_queue(queue_name)
        return {"status": "success", "message": f"Queue {queue_name!r} deleted."}

    def clean_queue(self, queue_name: str) -> int:
        """Remove ready and delayed jobs and return how many; running and dead ones stay."""
        return self.store.purge(queue_name)

    def count_queue_messages(self, queue_name: str) -> int:
        """Return how many jobs are ready."""
        return self.store.stats(queue_name).ready

    def queue_stats(self, queue_name: str) -> QueueStats:
        """Return the counts of a queue and the age of its oldest ready job."""
        return self.store.stats(queue_name)

    # publishing and taking

    def publish(self, queue_name: str, message: Job | BaseModel, **options: Any) -> str:
        """Publish a job, or a model as the payload of one, and return its id once it is safe.

        No schema is known here; `Orchestrator.publish` validates. `options` are the fields of
        `PublishOptions`.
        """
        return self.publish_entries(
            self.target(queue_name), [message], PublishOptions(**options) if options else PLAIN
        )[0]

    def target(self, queue_name: str, schema: TaskSchema | None = None) -> Target:
        """Return a queue as a publisher sees it, with the schema that holds there."""
        queues = self.store.queues()
        if queue_name not in queues:
            raise QueueNotFoundError(queue_name, queues)
        return Target.of(queues[queue_name], schema)

    def publish_entries(
        self, target: Target, jobs: Sequence[Job | BaseModel], options: PublishOptions
    ) -> list[str]:
        """Check and serialise all jobs, then add them: all or none."""
        entries = publishing.entries_of(target, jobs, options, self.store.now(), self.max_payload)
        return self.store.publish(target.queue, entries) if entries else []

    def receive_message(
        self,
        queue_name: str,
        block: bool = False,  # noqa: FBT001, FBT002 - the older signature
        timeout: float | None = None,
    ) -> JobDict | None:
        """Take one job out of a queue and settle it in the same step; None when there is none.

        At most once: a crash right after this call loses the job. Use a `Consumer` where that
        matters. A message that is not a job is put to the dead letters, and the next one is taken.
        """
        taker = self._taker()
        while True:
            wait = timeout if block else 0
            found = taker.receive([queue_name], limit=1, wait=wait).deliveries
            if not found:
                return None
            try:
                job = wire.decode(found[0])
            except wire.Undecodable as error:
                taker.settle([wire.undecodable(found[0], error)])
                continue
            taker.settle([Settlement(found[0], "ack")])
            job.pop("options")
            return job

    def _taker(self) -> Holder:
        """Return this thread's own hold for `receive_message`; a forked child makes its own."""
        mine = (os.getpid(), getattr(self._takers, "holder", None))
        if mine[1] is None or getattr(self._takers, "pid", 0) != mine[0]:
            self._takers.holder, self._takers.pid = self.store.holder(), mine[0]
        holder: Holder = self._takers.holder
        return holder

    # administering

    def dead_letters(
        self, queue_name: str, limit: int = PAGE, after: str | None = None
    ) -> list[DeadLetter]:
        """Return up to `limit` dead letters, oldest death first; `after` is a page's last id.

        An `after` that was requeued or discarded meanwhile begins at the first page again.
        """
        found = self.store.dead_letters(queue_name, limit=limit, after=after)
        return [DeadLetter.of(each) for each in found]

    def requeue_dead_letters(
        self, queue_name: str, job_ids: str | Sequence[str] | None = None
    ) -> int:
        """Make dead letters ready again (None: all) with fresh counters; return how many."""
        return self.store.requeue_dead(queue_name, _ids(job_ids))

    def discard_dead_letters(
        self, queue_name: str, job_ids: str | Sequence[str] | None = None
    ) -> int:
        """Remove dead letters for good (None: all); return how many."""
        return self.store.discard_dead(queue_name, _ids(job_ids))

    def handle(self, job_id: str) -> JobHandle:
        """Return a handle on a job by its id; nothing is looked up yet."""
        return JobHandle(self.store, job_id)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that has not finished; False when there is nothing to cancel (any more).

        A waiting job is gone at once. A running one ends cancelled whatever it returns; its handler
        sees `Consumer.cancelled()`.
        """
        return self.store.cancel(job_id)

    def move_to_dlq(self, *_: object, **__: object) -> None:
        """Refuse: dead letters are a state of the job here, not another queue."""
        what, instead = (
            "moving messages to a dead-letter queue by hand",
            "Raise Reject(reason) in run.",
        )
        raise UnsupportedByBackendError(what, self.store.backend, instead)

    def declare_exchange(self, *_: Any, **__: Any) -> dict[str, str]:
        """Declare an exchange, where the backend has such a thing: RabbitMQ."""
        raise self._no_exchanges()

    def delete_exchange(self, *_: Any, **__: Any) -> dict[str, str]:
        """Delete an exchange, where the backend has such a thing: RabbitMQ."""
        raise self._no_exchanges()

    def count_exchanges(self, *_: Any, **__: Any) -> int:
        """Count exchanges, where the backend has such a thing: RabbitMQ."""
        raise self._no_exchanges()

    def _no_exchanges(self) -> UnsupportedByBackendError:
        instead = "Publish to a queue by its name; exchanges are RabbitMQ's."
        return UnsupportedByBackendError("exchanges", self.store.backend, instead)

    def create_consumer_backend(
        self,
        queue_name: str,
        owner: Orchestrator,
        handler: Callable[[Any], Any] | Handler | None = None,
    ) -> ConsumerBackend:
        """Return this backend's engine for a consumer."""
        return self.consumer_backend_class(queue_name, owner, handler)

    def close(self) -> None:
        """Close the connection. Jobs that are held here come back as after a crash."""
        self.store.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close at the end of a `with` block."""
        super().__exit__(kind, error, trace)
        self.close()


def checked_name(name: object) -> str:
    """Return a queue name, or raise ValueError for what is none."""
    if not isinstance(name, str) or not is_text(name) or len(name) > LONGEST_NAME:
        message = f"a queue name is text of 1 to 200 characters, not {name!r}"
        raise ValueError(message)
    return name


def checked_queue_type(
    queue_type: QueueType | str | None, max_priority: int | None
) -> QueueType | None:
    """Return the type asked for; `max_priority` alone asks for a priority queue."""
    if max_priority is not None and (
        isinstance(max_priority, bool) or max_priority not in range(1, MOST_PRIORITY + 1)
    ):
        message = f"max_priority takes an integer from 1 to {MOST_PRIORITY}, not {max_priority!r}"
        raise ValueError(message)
    if queue_type is None:
        return None if max_priority is None else "priority"
    kind = str(queue_type).lower()
    if max_priority is not None and kind != "priority":
        message = f"max_priority goes with a priority queue, not with {queue_type!r}"
        raise ValueError(message)
    for known in QUEUE_TYPES:
        if kind == known:
            return known
    message = f"Unknown queue type {queue_type!r}: use fifo, stack or priority"
    raise TypeError(message)


def checked_options(options: dict[str, Any]) -> QueueOptions | None:
    """Return the options of a declaration; None when nothing was said."""
    return QueueOptions(**options) if options else None


def _ids(job_ids: str | Sequence[str] | None) -> list[str] | None:
    if job_ids is None:
        return None
    return [job_ids] if isinstance(job_ids, str) else list(job_ids)
