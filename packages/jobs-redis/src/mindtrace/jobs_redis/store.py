"""`RedisStore`: the store on one namespace of a Redis. Each transition is one script."""

from __future__ import annotations

import json
import logging
import weakref
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from mindtrace.core import SystemClock
from mindtrace.jobs.backend import (
    Capabilities,
    DeadRecord,
    Entry,
    JobRecord,
    Queue,
    QueueOptions,
    QueueSpec,
    QueueStats,
    QueueType,
)
from mindtrace.jobs.errors import (
    BackendUnavailableError,
    DuplicateJobError,
    QueueNotFoundError,
    QueueTypeMismatchError,
)
from mindtrace.jobs.lifecycle import UNFINISHED, JobState
from mindtrace.jobs_redis import packing
from mindtrace.jobs_redis.holder import RedisHolder
from mindtrace.jobs_redis.listening import Bell
from mindtrace.jobs_redis.moving import RedisInlet, RedisOutlet
from mindtrace.jobs_redis.server import TIMEOUT, Server, is_worth_repeating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs_redis.address import Address

RECORDS_AT_ONCE = 200
"""How many records one script reads: nobody else is served meanwhile."""


class RedisStore:
    """A `Store` on one namespace of a Redis server, Sentinel's primary, or Cluster.

    Publishing returns after the server's answer: as durable as its append-only file. A failover
    to a replica may lose what was answered just before.
    """

    backend = "redis"
    capabilities = Capabilities()

    def __init__(self, address: Address, timeout: float = TIMEOUT) -> None:
        self.place = address
        self.address = str(address)
        self.server = Server(address, logging.getLogger(__name__), timeout)
        # blocking takes real time, whatever offset dates the jobs
        self.monotonic = SystemClock().monotonic
        self._leases: dict[str, float] = {}
        self._holders: weakref.WeakSet[RedisHolder] = weakref.WeakSet()

    def now(self) -> float:
        """Return the server's time, as far as it is known here."""
        return self.server.now()

    # queues

    def declare_queue(self, spec: QueueSpec) -> bool:
        """Make the queue exist and return whether this call made it."""
        options = spec.options or QueueOptions()
        answer = self.server.call_again(
            "declare",
            spec.name,
            spec.queue_type or "",
            options.max_deliveries,
            "" if options.dead_letter_ttl is None else options.dead_letter_ttl,
            json.dumps(options.to_json()),
            "1" if spec.options else "0",
        )
        if answer[0] < 0:
            raise QueueTypeMismatchError(spec.name, answer[1], str(spec.queue_type))
        if spec.options or answer[0] == 1:
            self._leases[spec.name] = options.lease
        return bool(answer[0])

    def delete_queue(self, name: str) -> None:
        """Remove the queue with all it has; deliveries still held become stale."""
        self._leases.pop(name, None)
        if not self.server.call("delete", name):
            self.unknown_queue(name)

    def queues(self) -> dict[str, Queue]:
        """Return every queue by name."""
        answer = self.server.call_again("queues")
        found = {
            name: Queue(name, kind, QueueOptions.from_json(json.loads(text)))
            for name, kind, text in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        }
        self._leases = {name: queue.options.lease for name, queue in found.items()}
        return found

    def shortest_lease(self, names: Sequence[str]) -> float:
        """Return the shortest lease of some queues, looking up those not known here."""
        if any(name not in self._leases for name in names):
            self.queues()
        known = [self._leases[name] for name in names if name in self._leases]
        return min(known, default=QueueOptions().lease)

    def unknown_queue(self, name: str) -> NoReturn:
        """Raise that there is no such queue."""
        raise QueueNotFoundError(name, self.queues())

    # publishing

    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        """Add entries, all or none, and return each one's id once all are safe."""
        if not entries:
            return []
        args = packing.entry_args(entries)
        again = False
        quick = packing.quick_script(entries, args)
        if quick is not None:
            try:
                if self.server.call(quick, queue, *args) == 1:
                    return [entry.id for entry in entries]
            except BackendUnavailableError as error:
                if not is_worth_repeating(error):
                    raise
                again = True  # perhaps it did succeed
        answer = self.server.call_again(
            "publish_checked", queue, "1" if again else "0", *args, again_at=1
        )
        if answer == 0:
            return [entry.id for entry in entries]
        self._refused(queue, answer)
        return cast("list[str]", answer)

    def _refused(self, queue: str, answer: list[str]) -> None:
        # ids are texts of the user's: an answer is told by its length as well
        if answer == ["missing"]:
            self.unknown_queue(queue)
        if len(answer) == 4 and answer[0] == "duplicate":  # noqa: PLR2004 - the script's answer
            raise DuplicateJobError(*answer[1:])

    # holding

    def holder(self) -> RedisHolder:
        """Return a new, living hold on this store."""
        holder = RedisHolder(self)
        self._holders.add(holder)
        return holder

    def reap(self) -> None:
        """Take over from holders that died."""
        self.server.call_again("reap")

    # looking and administering

    def purge(self, name: str) -> int:
        """Remove ready and delayed jobs and return how many; leased and dead ones stay."""
        return self._count("purge", name)

    def stats(self, name: str) -> QueueStats:
        """Count, changing nothing; what a dead holder held counts as what it will become."""
        answer = self.server.call_again("stats", name)
        if not answer:
            self.unknown_queue(name)
        kind, ready, delayed, leased, dead, age = answer
        oldest = None if age == "" else float(age)
        return QueueStats(name, cast("QueueType", kind), ready, delayed, leased, dead, oldest)

    def dead_letters(self, queue: str, *, limit: int, after: str | None) -> list[DeadRecord]:
        """Return up to `limit` dead letters, oldest death first, those after the given job id."""
        answer = self.server.call_again("dead_letters", queue, limit, after or "")
        if answer == ["missing"]:
            self.unknown_queue(queue)
        return packing.letters_of(answer, queue)

    def requeue_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Make dead letters ready again with fresh counters; the delivery number goes on rising."""
        return self._count("requeue", queue, *_chosen(job_ids))

    def discard_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Remove dead letters for good and return how many."""
        return self._count("discard", queue, *_chosen(job_ids))

    def _count(self, name: Literal["purge", "requeue", "discard"], queue: str, *args: str) -> int:
        count = int(self.server.call(name, queue, *args))
        if count < 0:
            self.unknown_queue(queue)
        return count

    def cancel(self, job_id: str) -> bool:
        """Cancel an unfinished job, or ask its holder to; False when it has finished already."""
        return bool(self.server.call("cancel", job_id))

    def record(self, job_id: str) -> JobRecord | None:
        """Return what is known of a job, or None."""
        return self.records([job_id])[0]

    def records(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return what is known of each of these jobs, or None."""
        found: list[JobRecord | None] = []
        for start in range(0, len(job_ids), RECORDS_AT_ONCE):
            page = job_ids[start : start + RECORDS_AT_ONCE]
            answers = self.server.call_again("records", *page)
            found += map(packing.record_of, answers, page)
        return found

    def wait_finished(self, job_id: str, wait: float) -> JobRecord | None:
        """Block up to `wait` seconds until the job has finished, and return its record then."""
        end = self.monotonic() + wait
        found = self.record(job_id)
        if wait <= 0 or not _is_unfinished(found):
            return found
        with Bell(self.server) as bell:
            while True:
                answer = self.server.call_again("await", job_id, bell.token)
                found = packing.record_of(answer, job_id)
                left = end - self.monotonic()
                if not _is_unfinished(found) or left <= 0:
                    return found
                # no longer than a second: then somebody looks whether a holder died
                bell.wait(left)

    # results that older code keeps by hand

    def store_result(self, job_id: str, result: str, ttl: float) -> None:
        """Keep a result by hand, in place of an earlier one."""
        self.server.command("SET", self._result_key(job_id), result, "PX", int(ttl * 1000))

    def stored_result(self, job_id: str) -> str | None:
        """Return a result that was kept by hand, or None."""
        found = self.server.command("GET", self._result_key(job_id))
        return None if found is None else str(found)

    def _result_key(self, job_id: str) -> str:
        return f"{self.place.base}:result:{job_id}"

    # moving

    def outlet(self, queue: str) -> RedisOutlet:
        """Return the way out of a queue; see `mindtrace.jobs.migrate`."""
        self.reap()  # what a dead holder held waits as well
        return RedisOutlet(self, queue)

    def inlet(self, queue: str) -> RedisInlet:
        """Return the way into a queue; see `mindtrace.jobs.migrate`."""
        return RedisInlet(self, queue)

    def close(self) -> None:
        """Close; a closed store is not used again. What its holders hold comes back as lost."""
        for holder in list(self._holders):
            try:
                holder.close()
            except BackendUnavailableError:
                # nobody renews their leases any more: their jobs come back without our saying so
                continue
        self.server.close()


def _chosen(job_ids: Sequence[str] | None) -> Any:
    return ("all",) if job_ids is None else ("these", *job_ids)


def _is_unfinished(record: JobRecord | None) -> bool:
    return record is not None and JobState(record.state) in UNFINISHED
