"""`LocalStore`: the store on one SQLite file, shared by any number of processes on one machine."""

from __future__ import annotations

import json
import sqlite3
import weakref
from typing import TYPE_CHECKING

from mindtrace.core import SystemClock
from mindtrace.jobs.backend import (
    Capabilities,
    DeadRecord,
    Delivery,
    Entry,
    JobRecord,
    Queue,
    QueueOptions,
    QueueSpec,
    QueueStats,
)
from mindtrace.jobs.errors import (
    BackendUnavailableError,
    QueueNotFoundError,
    QueueTypeMismatchError,
)
from mindtrace.jobs.lifecycle import UNFINISHED, JobState
from mindtrace.jobs.local import inspection, transitions
from mindtrace.jobs.local import statements as sql
from mindtrace.jobs.local.database import Database
from mindtrace.jobs.local.holder import LOOK_AGAIN, LocalHolder
from mindtrace.jobs.local.moving import LocalInlet, LocalOutlet
from mindtrace.jobs.local.presence import RESULTS, SLOTS, FilePresence, MemoryPresence
from mindtrace.jobs.local.transitions import QueueRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mindtrace.core import Clock
    from mindtrace.jobs.local.opening import Durability


class LocalStore:
    """A `Store` on the file `jobs.db` of a folder, or in the memory of this process.

    Publishing returns after the commit. With durability "normal" that survives the death of any
    process; with "full" each commit is forced to the disk and survives a loss of power.
    """

    backend = "local"
    capabilities = Capabilities()

    def __init__(
        self, folder: Path | None, durability: Durability = "normal", clock: Clock | None = None
    ) -> None:
        clock = clock or SystemClock()
        self.now = clock.now
        # blocking takes real time, whatever clock dates the jobs
        self.monotonic = SystemClock().monotonic
        self.database = Database(folder, durability)
        self.address = self.database.address
        self.presence = FilePresence(folder) if folder else MemoryPresence()
        self._rows: dict[str, QueueRow] = {}
        self._holders: weakref.WeakSet[LocalHolder] = weakref.WeakSet()

    # queues

    def declare_queue(self, spec: QueueSpec) -> bool:
        """Make the queue exist and return whether this call made it."""
        with self.database.writing() as c:
            found = c.execute("select type from queues where name = ?", (spec.name,)).fetchone()
            if found is None:
                options = spec.options or QueueOptions()
                c.execute(
                    "insert into queues (name, type, options) values (?, ?, ?)",
                    (spec.name, spec.queue_type or "fifo", json.dumps(options.to_json())),
                )
            elif spec.queue_type not in (None, found[0]):
                raise QueueTypeMismatchError(spec.name, found[0], str(spec.queue_type))
            elif spec.options is not None:
                text = json.dumps(spec.options.to_json())
                c.execute("update queues set options = ? where name = ?", (text, spec.name))
        self._refresh()
        return found is None

    def delete_queue(self, name: str) -> None:
        """Remove the queue with all it has; deliveries still held become stale."""
        row = self.row(name, fresh=True)
        with self.database.writing() as c:
            c.execute(sql.RAISE_HIGH_TO_LAST)
            for table in ("jobs", "outcomes", "dedup", "queues"):
                c.execute(f"delete from {table} where queue = ?", (row.queue,))  # noqa: S608
        self._rows.pop(name, None)
        self.presence.ring(row.queue, SLOTS)  # those who wait on it learn that it is gone
        self.ring_results()

    def queues(self) -> dict[str, Queue]:
        """Return every queue by name."""
        self._refresh()
        return {
            name: Queue(row.name, row.queue_type, row.options) for name, row in self._rows.items()
        }

    def row(self, name: str, *, fresh: bool = False) -> QueueRow:
        """Return the row of a queue, or raise that there is none."""
        if fresh or name not in self._rows:
            self._refresh()
        try:
            return self._rows[name]
        except KeyError:
            raise QueueNotFoundError(name, self._rows) from None

    def rows(self, names: Sequence[str], *, fresh: bool = False) -> list[QueueRow]:
        """Return the rows of several queues."""
        if fresh:
            self._refresh()
        return [self.row(name) for name in names]

    def cached_rows(self, names: Sequence[str]) -> list[QueueRow]:
        """Return the rows that are known without a look; the others are left out."""
        return [self._rows[name] for name in names if name in self._rows]

    def options(self) -> dict[str, QueueOptions]:
        """Return the options of the queues by name, as last seen."""
        return {name: row.options for name, row in self._rows.items()}

    def _refresh(self) -> None:
        with self.database.reading() as c:
            found = c.execute("select queue, name, type, options from queues").fetchall()
        self._rows = {
            name: QueueRow(queue, name, kind, QueueOptions.from_json(json.loads(text)))
            for queue, name, kind, text in found
        }

    # publishing

    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        """Add entries, all or none, and return each one's id once all are safe."""
        row = self._rows.get(queue) or self.row(queue)
        if (
            len(entries) == 1
            and entries[0].dedup_key is None
            and self._publish_one(row, entries[0])
        ):
            ids = [entries[0].id]
        else:
            row = self.row(queue, fresh=True)
            ids = self._publish_checked(row, entries)
        self.presence.ring(row.queue, len(entries))
        return ids

    def _publish_one(self, row: QueueRow, entry: Entry) -> bool:
        """Add one entry in one statement; False when its queue is gone or its id is taken."""
        values = transitions.values_of(row, entry, self.now())
        with self.database.lock:
            try:
                connection = self.database.connection
                if connection.in_transaction:
                    # a signal handler that publishes while this thread does: not part of it
                    raise self._busy_here()
                return connection.execute(sql.PUBLISH, values).rowcount == 1
            except sqlite3.Error as error:
                raise self.database.translated(error) from error

    def _busy_here(self) -> BackendUnavailableError:
        reason = "this thread is inside another call of it; do not publish in a signal handler"
        return BackendUnavailableError(self.backend, self.address, reason, transient=False)

    def _publish_checked(self, row: QueueRow, entries: Sequence[Entry]) -> list[str]:
        now = self.now()
        with self.database.writing() as c:
            if not c.execute("select 1 from queues where queue = ?", (row.queue,)).fetchone():
                raise QueueNotFoundError(row.name, self._rows)
            transitions.expire(c, now)
            if any(entry.dedup_key is not None for entry in entries):
                return [transitions.add(c, row, entry, now) for entry in entries]
            return transitions.add_all(c, row, entries, now)

    # holding

    def holder(self) -> LocalHolder:
        """Return a new, living hold on this store."""
        holder = LocalHolder(self, self._slot())
        self._holders.add(holder)
        return holder

    def _slot(self) -> int:
        """Take a slot, and give back what a dead holder of the same slot had."""
        self.database.ensure_open()
        slot = self.presence.acquire()
        self.lose(slot)
        return slot

    def lose(self, slot: int) -> bool:
        """Make ready again what a slot held, counted as lost; return whether it held anything."""
        self._refresh()
        options = {row.queue: row.options for row in self._rows.values()}
        with self.database.writing() as c:
            lost = transitions.lose(c, slot, options, self.now())
        for queue in set(lost):
            self.presence.ring(queue, len(lost))
        self.ring_results()
        return bool(lost)

    def reap(self) -> bool:
        """Take over from holders that died; return whether any job came back by it."""
        with self.database.reading() as c:
            slots = c.execute("select distinct holder from jobs where state = 2").fetchall()
            over = transitions.anything_over(c, self.now())
        if over:
            with self.database.writing() as c:
                transitions.forget_over(c, self.now())
        came_back = False
        for (slot,) in slots:
            if self.presence.seize(slot):
                try:
                    came_back |= self.lose(slot)
                finally:
                    self.presence.release(slot)
        return came_back

    def seconds_to_next_due(self, rows: Sequence[QueueRow]) -> float:
        """Return how long until a delayed job of these queues is due; infinite without one."""
        with self.database.reading() as c:
            dues = [
                c.execute(
                    "select min(due_at) from jobs where queue = ? and state = 1", (row.queue,)
                ).fetchone()[0]
                for row in rows
            ]
        known = [due for due in dues if due is not None]
        return max(0.0, min(known) - self.now()) if known else float("inf")

    def ring(self, queue: str, count: int) -> None:
        """Wake holders that wait for a queue, as far as it is known here."""
        row = self._rows.get(queue)
        if row is not None:
            self.presence.ring(row.queue, count)

    def ring_results(self) -> None:
        """Wake those who wait for an outcome."""
        self.presence.ring(RESULTS, SLOTS)

    # looking and administering

    def purge(self, name: str) -> int:
        """Remove ready and delayed jobs and return how many; leased and dead ones stay."""
        row = self.row(name, fresh=True)
        self.reap()  # what a dead holder held waits as well
        with self.database.writing() as c:
            transitions.expire(c, self.now())
            count = transitions.purge(c, row.queue, self.now())
        self.ring_results()
        return count

    def stats(self, name: str) -> QueueStats:
        """Count, changing nothing; what a dead holder held counts as ready."""
        row = self.row(name, fresh=True)
        with self.database.reading() as c:
            return inspection.stats(c, row, self.now(), self._is_dead)

    def _is_dead(self, slot: int) -> bool:
        if not self.presence.seize(slot):
            return False
        self.presence.release(slot)
        return True

    def waiting(self, queue: str) -> list[Delivery]:
        """Return the ready jobs in the order in which they would be handed out; they stay."""
        row = self.row(queue, fresh=True)
        with self.database.reading() as c:
            return inspection.waiting(c, row, self.now())

    def dead_letters(self, queue: str, *, limit: int, after: str | None) -> list[DeadRecord]:
        """Return up to `limit` dead letters, oldest death first, those after the given job id."""
        row = self.row(queue, fresh=True)
        with self.database.reading() as c:
            return inspection.dead_letters(c, row, self.now(), limit=limit, after=after)

    def requeue_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Make dead letters ready again with fresh counters; the delivery number goes on rising."""
        row = self.row(queue, fresh=True)
        with self.database.writing() as c:
            count = transitions.requeue(c, inspection.dead_seqs(c, row, self.now(), job_ids))
        self.presence.ring(row.queue, count)
        return count

    def discard_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        """Remove dead letters for good and return how many."""
        row = self.row(queue, fresh=True)
        with self.database.writing() as c:
            seqs = inspection.dead_seqs(c, row, self.now(), job_ids)
            transitions.forget(c, seqs)
        return len(seqs)

    def cancel(self, job_id: str) -> bool:
        """Cancel an unfinished job, or ask its holder to; False when it has finished already."""
        self.reap()
        with self.database.writing() as c:
            transitions.expire(c, self.now())
            cancelled = transitions.cancel(c, job_id, self.now())
        self.ring_results()
        return cancelled

    def record(self, job_id: str) -> JobRecord | None:
        """Return what is known of a job, or None."""
        return self.records([job_id])[0]

    def records(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return what is known of each of these jobs, or None, all at the same moment."""
        now = self.now()
        with self.database.reading() as c:
            return [inspection.record(c, each, now) for each in job_ids]

    def wait_finished(self, job_id: str, wait: float) -> JobRecord | None:
        """Block up to `wait` seconds until the job has finished, and return its record then."""
        end = self.monotonic() + wait
        found = self.record(job_id)
        if not _unfinished(found) or wait <= 0:
            return found
        slot = self._slot()
        try:
            while True:
                self.presence.show(slot, (RESULTS,))
                found = self.record(job_id)
                left = end - self.monotonic()
                if not _unfinished(found) or left <= 0:
                    return found
                # the bound is for a settling process that was killed between commit and ring
                self.presence.wait(slot, min(left, LOOK_AGAIN))
                self.reap()
        finally:
            self.presence.release(slot)

    def outlet(self, queue: str) -> LocalOutlet:
        """Return the way out of a queue."""
        row = self.row(queue, fresh=True)
        self.reap()  # what a dead holder held waits as well
        return LocalOutlet(self, row)

    def inlet(self, queue: str) -> LocalInlet:
        """Return the way into a queue."""
        return LocalInlet(self, self.row(queue, fresh=True))

    def store_result(self, job_id: str, result: str, ttl: float) -> None:
        """Keep a result by hand, in place of an earlier one."""
        with self.database.writing() as c:
            c.execute(
                "insert or replace into stored_results values (?, ?, ?)",
                (job_id, result, self.now() + ttl),
            )

    def stored_result(self, job_id: str) -> str | None:
        """Return a result that was kept by hand, or None."""
        with self.database.reading() as c:
            found = c.execute(
                "select result from stored_results where id = ? and forget_at > ?",
                (job_id, self.now()),
            ).fetchone()
        return str(found[0]) if found else None

    def close(self) -> None:
        """Close; a closed store is not used again. What its holders hold comes back as lost."""
        for holder in list(self._holders):
            holder.abandon()
        self.presence.close()
        self.database.close()


def _unfinished(record: JobRecord | None) -> bool:
    return record is not None and JobState(record.state) in UNFINISHED
