"""`LedgerStore`: RabbitMQ with a ledger beside it, a second store that remembers every job.

The ledger (Local or Redis) has the job itself: body, state, counters, outcome. What goes through
the broker is a *turn*: a message with nothing but the job's id, which says that it is this job's
turn to run. Whoever receives it leases that very job in the ledger. A turn whose job cannot be
leased (finished, cancelled, running elsewhere) is dropped, so that one too many does no harm; one
too few is noticed by an idle consumer, see `rescue`.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from mindtrace.jobs.backend import Capabilities, StoredJob
from mindtrace.jobs.errors import UnsupportedByBackendError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs_rabbitmq import ledger_holder
from mindtrace.jobs_rabbitmq.ledger_holder import LedgerHolder
from mindtrace.jobs_rabbitmq.message import ENTRIES, Envelope
from mindtrace.jobs_rabbitmq.sending import Parcel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mindtrace.jobs.backend import (
        DeadRecord,
        Entry,
        Inlet,
        JobRecord,
        Outlet,
        Queue,
        QueueSpec,
        QueueStats,
        Store,
    )
    from mindtrace.jobs_rabbitmq.store import RabbitMQStore

PAGE = 500


class LedgerStore:
    """A `Store` whose jobs are in a ledger and whose turns are in a broker.

    Publishing writes the ledger, then has the broker confirm. After `BackendUnavailableError` the
    job may be in the ledger without a turn: publishing it again gives it one, and so does a
    consumer within 40 s. The ledger must serve this broker alone.
    """

    backend = "rabbitmq"
    capabilities = Capabilities(
        queue_types=("fifo", "priority"), released_jobs_keep_their_place=False
    )

    def __init__(self, broker: RabbitMQStore, ledger: Store) -> None:
        self.broker = broker
        self.ledger = ledger
        self.address = broker.address
        self.now = ledger.now
        self.holders: weakref.WeakSet[LedgerHolder] = weakref.WeakSet()
        self._looked_at: dict[str, float] = {}

    # queues

    def declare_queue(self, spec: QueueSpec) -> bool:
        """Make the queue exist in both, and return whether this call made it."""
        return self.declare(spec)

    def declare(
        self, spec: QueueSpec, *, max_priority: int | None = None, quorum: bool | None = None
    ) -> bool:
        """Do the same, with what only this backend has; see `RabbitMQStore.declare`."""
        created = self.broker.declare(spec, max_priority=max_priority, quorum=quorum)
        kind = self.broker.directory.known[spec.name].queue_type
        self.ledger.declare_queue(replace(spec, queue_type=kind))
        return created

    def delete_queue(self, name: str) -> None:
        """Remove the queue from both; deliveries still held become stale."""
        self.broker.delete_queue(name)
        if name in self.ledger.queues():
            self.ledger.delete_queue(name)

    def delete_namespace(self) -> None:
        """Remove every queue, and the broker's list of them."""
        for name in self.queues():
            self.delete_queue(name)
        self.broker.delete_namespace()

    def queues(self) -> dict[str, Queue]:
        """Return every queue by name."""
        return self.broker.queues()

    def purge(self, name: str) -> int:
        """Remove ready and delayed jobs and return how many; leased and dead ones stay."""
        self.broker.purge(name)  # first: what is published in between keeps its turn
        return self.ledger.purge(name)

    def stats(self, name: str) -> QueueStats:
        """Count the jobs of the ledger; exact."""
        self.broker.sender.listed(name)
        return self.ledger.stats(name)

    # jobs

    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        """Add entries to the ledger, all or none, and then give each its turn."""
        self.broker.check(queue, [each._replace(dedup_key=None) for each in entries])
        ids = self.ledger.publish(queue, entries)
        # an id that was there already gets another turn: the first may never have been sent
        self.send_turns(
            queue,
            [
                (job_id, each.priority, each.delay)
                for job_id, each in zip(ids, entries, strict=True)
            ],
        )
        return ids

    def send_turns(self, queue: str, turns: Iterable[tuple[str, int, float]]) -> None:
        """Say in the broker that it is these jobs' turn: id, priority, seconds until then."""
        now = self.broker.now()
        parcels = [turn(job_id, priority, delay, now) for job_id, priority, delay in turns]
        if parcels:
            self.broker.sender.send(queue, parcels, now)

    def holder(self) -> LedgerHolder:
        """Return a new, living hold on both."""
        holder = LedgerHolder(self)
        self.holders.add(holder)
        return holder

    def dead_letters(self, queue: str, *, limit: int, after: str | None) -> list[DeadRecord]:
        """Return up to `limit` dead letters, oldest death first, those after the given job id."""
        return self.ledger.dead_letters(queue, limit=limit, after=after)

    def requeue_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Make dead letters ready again with fresh counters, and give each its turn."""
        priorities: dict[str, int] = {}
        after: str | None = None
        while page := self.ledger.dead_letters(queue, limit=PAGE, after=after):
            priorities |= {each.delivery.id: each.delivery.priority for each in page}
            after = page[-1].delivery.id
        chosen = list(priorities) if job_ids is None else list(job_ids)
        count = self.ledger.requeue_dead(queue, chosen)
        self.send_turns(
            queue, [(each, priorities[each], 0.0) for each in chosen if each in priorities]
        )
        return count

    def discard_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Remove dead letters for good and return how many."""
        return self.ledger.discard_dead(queue, job_ids)

    def cancel(self, job_id: str) -> bool:
        """Cancel an unfinished job, or ask its holder to; False when it has finished already."""
        return self.ledger.cancel(job_id)

    def record(self, job_id: str) -> JobRecord | None:
        """Return what is known of a job, or None."""
        return self.ledger.record(job_id)

    def records(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return what is known of each of these jobs, or None."""
        return self.ledger.records(job_ids)

    def wait_finished(self, job_id: str, wait: float) -> JobRecord | None:
        """Block up to `wait` seconds until the job has finished, and return its record then."""
        return self.ledger.wait_finished(job_id, wait)

    def outlet(self, queue: str) -> Outlet:
        """Return the way out; turns of jobs that left are dropped when they come."""
        return self.ledger.outlet(queue)

    def inlet(self, queue: str) -> Inlet:
        """Return the way in, which gives each job its turn."""
        return _LedgerInlet(self, queue)

    def rescue(self, queue: str) -> None:
        """Give a turn to the oldest jobs when more are ready in the ledger than have one waiting.

        A process that died between writing the ledger and sending the turn leaves such jobs, and a
        broker that lost its data. Turns that consumers took ahead are not counted, so some may be
        sent that nobody needs; being there, they keep more from being sent. Called by consumers
        before they take; it seldom looks.
        """
        now = monotonic()
        looked = self._looked_at.get(queue)
        if looked is not None and now - looked < ledger_holder.RESCUE_AFTER / ledger_holder.LOOKS:
            return
        self._looked_at[queue] = now
        found = self.ledger.stats(queue)
        age = found.oldest_ready_age
        if age is None or age < ledger_holder.RESCUE_AFTER:
            return
        lacking = found.ready - self.broker.stats(queue).ready
        if lacking <= 0:
            return
        outlet = self.ledger.outlet(queue)
        try:
            while lacking > 0 and (page := outlet.take(PAGE)):
                ready = [each for each in page if _is_ready(each, self.now())][:lacking]
                self.send_turns_of(queue, ready)
                lacking -= len(ready)
        finally:
            outlet.close()

    def send_turns_of(self, queue: str, jobs: Sequence[StoredJob]) -> None:
        """Give a turn to each of these jobs that is not dead, when it is due."""
        now = self.now()
        self.send_turns(
            queue,
            [
                (each.id, each.priority, max(0.0, (each.due_at or now) - now))
                for each in jobs
                if each.state != JobState.DEAD
            ],
        )

    def close(self) -> None:
        """Close both. What holders of it have comes back as lost."""
        for holder in list(self.holders):
            if holder.is_ours:  # a forked child has its parent's among them
                holder.abandon()
        self.broker.close()
        self.ledger.close()


class _LedgerInlet:
    """The ledger's way in, with a turn for each job."""

    def __init__(self, store: LedgerStore, queue: str) -> None:
        self._store = store
        self._queue = queue
        self._inlet = store.ledger.inlet(queue)

    def add(self, jobs: Sequence[StoredJob]) -> None:
        """Add jobs to the ledger, then give each its turn."""
        lowest, highest = 0, self._store.broker.sender.listed(self._queue).max_priority
        if highest is not None and any(not lowest <= each.priority <= highest for each in jobs):
            what = f"priorities outside of 0 to {highest}"
            instead = "Move them to a Redis or Local backend."
            raise UnsupportedByBackendError(what, self._store.backend, instead)
        self._inlet.add(jobs)
        self._store.send_turns_of(self._queue, jobs)

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Take back jobs that were added."""
        return self._inlet.remove(jobs)

    def close(self) -> None:
        """Let go."""
        self._inlet.close()


def _is_ready(job: StoredJob, now: float) -> bool:
    return job.state != JobState.DEAD and (job.due_at is None or job.due_at <= now)


def turn(job_id: str, priority: int, delay: float, now: float) -> Parcel:
    """Return the message that says that it is a job's turn."""
    due = now + delay if delay > 0 else None
    return Parcel(
        Envelope(job_id, ENTRIES.new(), now, priority=priority, due_at=due, sent_at=now), "", delay
    )
