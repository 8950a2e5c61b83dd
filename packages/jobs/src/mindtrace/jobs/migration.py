"""`migrate`: moves the jobs of one backend to another, safe to interrupt and to run again.

A batch is added at the target before it is removed at the source, so that an interruption leaves
jobs in both places and never in none. Running again finds those by their ids, and adds none twice.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mindtrace.core.log import get_logger
from mindtrace.jobs.backend import Queue, QueueSpec
from mindtrace.jobs.errors import (
    DuplicateJobError,
    QueueNotFoundError,
    QueueTypeMismatchError,
    UnsupportedByBackendError,
)
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.orchestrator import Orchestrator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs.backend import Inlet, Outlet, QueueOptions, Store, StoredJob
    from mindtrace.jobs.client import OrchestratorBackend

BATCH = 100
"""Jobs that are in both places at a time, at most."""

PROBE = "mindtrace.migrate.probe"
"""The queue by which two clients of one place are told from clients of two."""

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one queue.

    Attributes:
        queue: its name, the same in both places.
        ready: jobs moved that could run at once.
        delayed: jobs moved that wait for their time.
        dead: dead letters moved.
        running: jobs that consumers of the source still have, as far as it can tell. They stay;
            those that come back to the source's queue need another run.
    """

    queue: str
    ready: int
    delayed: int
    dead: int
    running: int


def migrate(
    source: OrchestratorBackend | Orchestrator,
    target: OrchestratorBackend | Orchestrator,
    queues: str | Sequence[str] | None = None,
    *,
    batch_size: int = BATCH,
) -> list[Moved]:
    """Move what waits and the dead letters from one backend to another, and return what was moved.

    Queues that the target lacks are declared there with their type and options. Each job keeps its
    id, body, priority, counters, time to live and the rest of its delay, and takes a place behind
    the jobs that are at the target already. What is not moved: jobs that are running (see
    `Moved.running`), kept results of finished jobs, and dedup keys, so that a key of a moved job
    does not hold back another job of that key.

    It may be interrupted at any instant, by SIGKILL too. Until it has been run again and has
    returned, some jobs are in both places, at most a batch for each interruption; consumers on
    both sides may then run these twice. Stop the source's producers first: it goes on while they
    publish. Consumers of the source may go on; a job that one of them takes while it moves is
    taken back from the target, unless a consumer there has it too, which the log tells.

    Args:
        source: where the jobs are.
        target: where they go; another place than the source.
        queues: names; None moves every queue.
        batch_size: how many jobs are taken at a time.

    Raises:
        ValueError: source and target are the same place.
        QueueNotFoundError: the source has no such queue.
        UnsupportedByBackendError: the target has no queues of a type that is needed; nothing was
            moved.
        QueueTypeMismatchError: the target has such a queue of another type; nothing was moved.
        DuplicateJobError: the target has the id of a job in another queue; run again after that
            was mended.
        BackendUnavailableError: one of the two is away; run again when it is back.
    """
    if batch_size < 1:
        message = f"batch_size is at least 1, not {batch_size!r}"
        raise ValueError(message)
    giving, taking = _store_of(source), _store_of(target)
    _refuse_the_same_place(giving, taking)
    chosen = _chosen(giving, queues)
    _check_types(taking, chosen)
    for queue in chosen:
        taking.declare_queue(QueueSpec(queue.name, queue.queue_type, _options_for(taking, queue)))
    return [_Move(giving, taking, queue.name, batch_size).run() for queue in chosen]


def _store_of(client: OrchestratorBackend | Orchestrator) -> Store:
    return client.backend.store if isinstance(client, Orchestrator) else client.store


def _refuse_the_same_place(source: Store, target: Store) -> None:
    """Raise if both are one place, where adding changes nothing and removing loses the job.

    Addresses cannot tell: one server has many names.
    """
    if source.backend != target.backend:
        return
    if PROBE in source.queues():
        source.delete_queue(PROBE)  # left by a killed run that had this as its target
    target.declare_queue(QueueSpec(PROBE))
    is_same = PROBE in source.queues()
    target.delete_queue(PROBE)
    if is_same:
        message = f"source and target are the same place: {source.backend} at {source.address}"
        raise ValueError(message)


def _chosen(source: Store, queues: str | Sequence[str] | None) -> list[Queue]:
    known = source.queues()
    if queues is None:
        return list(known.values())
    names = dict.fromkeys([queues] if isinstance(queues, str) else queues)
    for name in names:
        if name not in known:
            raise QueueNotFoundError(name, known)
    return [known[name] for name in names]


def _check_types(target: Store, chosen: Sequence[Queue]) -> None:
    there = target.queues()
    for queue in chosen:
        if queue.queue_type not in target.capabilities.queue_types:
            what = f"{queue.queue_type} queues, and queue {queue.name!r} is one"
            instead = "Nothing was moved. Name the other queues in queues=[...], or drain this one."
            raise UnsupportedByBackendError(what, target.backend, instead)
        found = there.get(queue.name, queue).queue_type
        if found != queue.queue_type:
            raise QueueTypeMismatchError(queue.name, found, queue.queue_type)


def _options_for(target: Store, queue: Queue) -> QueueOptions | None:
    """Return the options to declare with: an existing queue keeps its own."""
    return None if queue.name in target.queues() else queue.options


class _Move:
    """One queue on its way."""

    def __init__(self, source: Store, target: Store, queue: str, batch_size: int) -> None:
        self._source = source
        self._target = target
        self._queue = queue
        self._batch_size = batch_size
        self._moved: Counter[JobState] = Counter()

    def run(self) -> Moved:
        """Go through the queue until nothing is left that can be moved."""
        while self._go_through():
            pass  # what came back meanwhile may have taken a place that was passed already
        done = Moved(
            self._queue,
            ready=self._moved[JobState.READY],
            delayed=self._moved[JobState.DELAYED],
            dead=self._moved[JobState.DEAD],
            running=self._source.stats(self._queue).leased,
        )
        logger.info(
            "Moved %d ready, %d delayed and %d dead jobs of queue %r from %s at %s to %s at %s; "
            "%d are running and stay.",
            *(done.ready, done.delayed, done.dead, self._queue),
            *(self._source.backend, self._source.address),
            *(self._target.backend, self._target.address),
            done.running,
        )
        return done

    def _go_through(self) -> bool:
        """Move what can be moved now; return whether there was anything."""
        before = self._moved.total()
        with (
            closing(self._source.outlet(self._queue)) as outlet,
            closing(self._target.inlet(self._queue)) as inlet,
        ):
            while jobs := outlet.take(self._batch_size):
                self._move(outlet, inlet, jobs)
        return self._moved.total() > before

    def _move(self, outlet: Outlet, inlet: Inlet, jobs: list[StoredJob]) -> None:
        added = self._add(inlet, jobs)
        kept = outlet.remove(jobs)
        stayed = {job.id for job in kept}
        self._moved.update(job.state for job in jobs if job.id not in stayed)
        back = [job for job in added if job.id in stayed]
        twice = inlet.remove(back) if back else []
        if twice:
            logger.warning(
                "%d jobs of queue %r were taken by consumers of both backends while they moved, "
                "and run in both: %s.",
                *(len(twice), self._queue, ", ".join(job.id for job in twice)),
            )

    def _add(self, inlet: Inlet, jobs: list[StoredJob]) -> list[StoredJob]:
        """Add jobs at the target, without those that have finished there; return the added."""
        while True:
            try:
                inlet.add(jobs)
            except DuplicateJobError as error:
                if not self._has_finished(error.job_id):
                    raise
                logger.info(
                    "Job %s has finished at the target, where an earlier run had moved it.",
                    error.job_id,
                )
                jobs = [job for job in jobs if job.id != error.job_id]
            else:
                return jobs

    def _has_finished(self, job_id: str) -> bool:
        found = self._target.record(job_id)
        if found is None or found.queue != self._queue:
            return False
        return found.state in (JobState.COMPLETED, JobState.CANCELLED)
