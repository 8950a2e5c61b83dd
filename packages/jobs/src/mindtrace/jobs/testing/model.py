"""One queue as lists and dicts: what every store must agree with.

Nothing here is fast or durable. Each method is one transition of `lifecycle.TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mindtrace.jobs.lifecycle import UNFINISHED, JobState
from mindtrace.jobs.testing.harness import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mindtrace.jobs.backend import Delivery, Entry, QueueType, Settlement

WAITING = (JobState.READY, JobState.DELAYED)


@dataclass(slots=True)
class ModelJob:
    """A job as the model knows it."""

    entry: Entry
    place: int
    state: JobState
    due: float
    expires: float
    name: int | str | None = None
    """The store's name for the entry, once it was seen."""
    delivery: int = 0
    attempts: int = 0
    lost: int = 0
    holder: int | None = None
    cancelling: bool = False
    pristine: bool = True
    """Never delivered and never delayed: its place is promised on every backend."""
    forget_at: float = float("inf")
    doomed: bool = False
    """Lost too often, which the store finds out when it comes across the job again."""

    @property
    def unfinished(self) -> bool:
        """Whether it is still to be done."""
        return self.state in UNFINISHED


class Duplicate(Exception):  # noqa: N818 - control flow of the model
    """The id cannot be published."""


@dataclass
class Model:
    """One queue."""

    queue_type: QueueType
    max_deliveries: int
    notices_at_once: bool = True
    """Whether a job that was lost too often is dead at once, rather than when it is met again."""
    now: float = 0.0
    jobs: dict[str, ModelJob] = field(default_factory=dict[str, ModelJob])
    keys: dict[str, tuple[ModelJob, float]] = field(
        default_factory=dict[str, tuple[ModelJob, float]]
    )
    dead: list[str] = field(default_factory=list[str])
    """Ids of the dead letters, by death."""
    _places: int = 0

    def advance(self, seconds: float) -> None:
        """Let time pass: jobs become due, expire, or are forgotten."""
        self.now += seconds
        for job in list(self.jobs.values()):
            if job.state in WAITING and job.expires <= self.now:
                self._finish(job, JobState.CANCELLED)
            elif job.state == JobState.DELAYED and job.due <= self.now:
                job.state = JobState.READY
            if job.forget_at <= self.now:
                self.jobs.pop(job.entry.id, None)

    def publish(self, entries: Sequence[Entry]) -> list[str]:
        """Add entries, all or none; return the ids that stand for them."""
        if any(self._is_duplicate(each) for each in entries):
            raise Duplicate
        return [self._add(each) for each in entries]

    def _is_duplicate(self, entry: Entry) -> bool:
        known = self.jobs.get(entry.id)
        return known is not None and not known.unfinished

    def _add(self, entry: Entry) -> str:
        if entry.dedup_key in self.keys:
            first, until = self.keys[entry.dedup_key]
            if first.unfinished or self.now < until:
                return first.entry.id
        if entry.id in self.jobs:
            return entry.id
        self._places += 1
        job = ModelJob(
            entry,
            self._places,
            JobState.DELAYED if entry.delay > 0 else JobState.READY,
            self.now + entry.delay,
            float("inf") if entry.ttl is None else self.now + entry.ttl,
            pristine=not entry.delay,
        )
        self.jobs[entry.id] = job
        if entry.dedup_key is not None:
            until = self.now + entry.dedup_ttl if entry.dedup_ttl else float("-inf")
            self.keys[entry.dedup_key] = (job, until)
        return entry.id

    def ready(self) -> list[ModelJob]:
        """Return the ready jobs in the order in which they are handed out."""
        found = [
            job for job in self.jobs.values() if job.state == JobState.READY and not job.doomed
        ]
        found.sort(key=lambda job: job.place, reverse=self.queue_type == "stack")
        if self.queue_type == "priority":
            found.sort(key=lambda job: -job.entry.priority)
        return found

    def batch(self, limit: int) -> list[ModelJob]:
        """Return what one receive brings: a job that was lost comes alone."""
        found = self.ready()[:limit]
        if found and found[0].lost:
            return found[:1]
        return found[: next((at for at, job in enumerate(found) if job.lost), limit)]

    def lease(self, delivery: Delivery, holder: int) -> None:
        """Hand a job out."""
        job = self.jobs[delivery.id]
        job.state, job.holder = JobState.LEASED, holder
        job.name, job.delivery, job.pristine = delivery.entry, delivery.delivery, False

    def holds(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is the current one of its entry."""
        return self.was_the_last(delivery) and self.jobs[delivery.id].state == JobState.LEASED

    def was_the_last(self, delivery: Delivery) -> bool:
        """Tell whether a delivery, over or not, is the last one of a job that is still there."""
        job = self.jobs.get(delivery.id)
        return job is not None and (job.name, job.delivery) == (delivery.entry, delivery.delivery)

    def held_by(self, holder: int) -> list[ModelJob]:
        """Return what a holder holds."""
        return [job for job in self.jobs.values() if job.holder == holder]

    def settle(self, settlement: Settlement) -> bool:
        """End a delivery; False when it is stale."""
        if not self.holds(settlement.delivery):
            return False
        job = self.jobs[settlement.delivery.id]
        if job.cancelling:
            self._finish(job, JobState.CANCELLED)
            return True
        match settlement.verdict:
            case "ack":
                self._finish(job, JobState.COMPLETED)
            case "nack":
                job.attempts = settlement.attempts
                self._put_back(job, settlement.delay)
            case "reject":
                job.attempts = settlement.attempts
                self._bury(job)
            case "release":
                self._put_back(job)
        return True

    def lose(self, holder: int) -> None:
        """Count what a vanished holder held as lost."""
        for job in self.held_by(holder):
            job.lost += 1
            if job.cancelling:
                self._finish(job, JobState.CANCELLED)
            elif job.lost < self.max_deliveries:
                self._put_back(job)
            elif self.notices_at_once:
                self._bury(job)
            else:
                job.doomed = True
                self._put_back(job)

    def notice(self, dead: Sequence[str]) -> None:
        """Take note of the doomed jobs that are among the dead letters now."""
        for job_id in dead:
            job = self.jobs.get(job_id)
            if job is not None and job.doomed and job.state != JobState.DEAD:
                self._bury(job)

    def moments(self) -> list[float]:
        """Return when something will happen by itself, and when it did."""
        found = [until for _, until in self.keys.values()]
        for job in self.jobs.values():
            found += [job.due] if job.state == JobState.DELAYED else []
            found += [job.expires] if job.state in WAITING else []
            found.append(job.forget_at)
        return found

    def cancel(self, job_id: str) -> bool:
        """Cancel what waits, ask for what runs."""
        job = self.jobs.get(job_id)
        if job is None or not job.unfinished:
            return False
        if job.state == JobState.LEASED:
            job.cancelling = True
        else:
            self._finish(job, JobState.CANCELLED)
        return True

    def requeue(self, job_ids: Iterable[str] | None) -> list[ModelJob]:
        """Make dead letters ready again; return them."""
        found = self._dead_among(job_ids)
        for job in found:
            job.state, job.attempts, job.lost, job.expires = JobState.READY, 0, 0, float("inf")
            job.doomed = False
            self.dead.remove(job.entry.id)
        return found

    def discard(self, job_ids: Iterable[str] | None) -> int:
        """Remove dead letters."""
        found = self._dead_among(job_ids)
        for job in found:
            self.dead.remove(job.entry.id)
            del self.jobs[job.entry.id]
        return len(found)

    def purge(self) -> int:
        """Remove what waits."""
        found = [job for job in self.jobs.values() if job.state in WAITING]
        for job in found:
            self._finish(job, JobState.CANCELLED)
        return len(found)

    def counts(self) -> Counts:
        """Count by state."""
        states = [job.state for job in self.jobs.values()]
        return Counts(*(states.count(each) for each in list(JobState)[:4]))

    def _dead_among(self, job_ids: Iterable[str] | None) -> list[ModelJob]:
        wanted = self.dead if job_ids is None else set(job_ids)
        return [self.jobs[each] for each in list(self.dead) if each in wanted]

    def _put_back(self, job: ModelJob, delay: float = 0.0) -> None:
        job.state = JobState.DELAYED if delay > 0 else JobState.READY
        job.due, job.holder = self.now + delay, None
        self.advance(0)

    def _bury(self, job: ModelJob) -> None:
        job.state, job.holder = JobState.DEAD, None
        self.dead.append(job.entry.id)

    def _finish(self, job: ModelJob, state: JobState) -> None:
        job.state, job.holder, job.cancelling = state, None, False
        if job.entry.keep is None:
            del self.jobs[job.entry.id]
        else:
            job.forget_at = self.now + job.entry.keep
