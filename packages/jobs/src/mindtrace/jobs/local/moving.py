"""The ways out of a queue of the local store and into one, for `mindtrace.jobs.migrate`.

First the transitions, each inside one open transaction, then the two classes that use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindtrace.jobs.backend import Failure, StoredJob
from mindtrace.jobs.errors import QueueNotFoundError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.local import statements as sql
from mindtrace.jobs.local import transitions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from mindtrace.jobs.local.store import LocalStore
    from mindtrace.jobs.local.transitions import QueueRow

_WAITING = """
select seq, id, body, state, priority, published_at, due_at, expires_at, keep,
       delivery, attempts, lost
from jobs where queue = ? and state in (0, 1) and seq > ?
  and (expires_at is null or expires_at > ?)
order by seq limit ?
"""

_DEAD = """
select o.number, j.seq, j.id, j.body, j.state, j.priority, j.published_at, null, null, j.keep,
       j.delivery, j.attempts, j.lost,
       o.reason, o.error_type, o.message, o.traceback, o.finished_at
from outcomes o join jobs j on j.seq = o.seq
where o.queue = ? and o.state = 3 and o.number > ? and (o.forget_at is null or o.forget_at > ?)
order by o.number limit ?
"""

_MOVE_IN = f"""
insert into jobs (seq, queue, state, rank, id, body, priority, published_at, due_at, expires_at,
                  keep, delivery, attempts, lost)
values ({sql.LAST_SEQ} + 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (id) do nothing
"""  # noqa: S608 - a constant

_BURY = """
insert into outcomes (seq, queue, state, finished_at, forget_at,
                      reason, error_type, message, traceback)
select seq, queue, 3, ?, ?, ?, ?, ?, ? from jobs where id = ?
"""

# What was taken and has not changed since. A release or a requeue changes what a job is, although
# it waits as before: every receive raises the number, and the dead are apart from the living.
_UNCHANGED = "(state = 3) = ? and state in (0, 1, 3)"
_AS_TAKEN = f"select seq from jobs where seq = ? and delivery = ? and {_UNCHANGED}"  # noqa: S608
_AS_ADDED = f"select seq from jobs where id = ? and queue = ? and {_UNCHANGED}"  # noqa: S608


def take_out(c: Connection, jobs: Sequence[StoredJob]) -> list[StoredJob]:
    """Remove jobs that are as they were when they were taken; return the others."""
    keys = [(job.entry, job.delivery, job.state is JobState.DEAD) for job in jobs]
    return _remove(c, jobs, _AS_TAKEN, keys)


def take_back(c: Connection, row: QueueRow, jobs: Sequence[StoredJob]) -> list[StoredJob]:
    """Remove jobs that came in and still wait, or lie dead, as they did; return the others."""
    keys = [(job.id, row.queue, job.state is JobState.DEAD) for job in jobs]
    return _remove(c, jobs, _AS_ADDED, keys)


def _remove(
    c: Connection, jobs: Sequence[StoredJob], statement: str, keys: list[tuple[Any, ...]]
) -> list[StoredJob]:
    rows = [c.execute(statement, key).fetchone() for key in keys]
    transitions.forget(c, [row[0] for row in rows if row])
    return [job for job, row in zip(jobs, rows, strict=True) if row is None]


def bring_in(c: Connection, row: QueueRow, jobs: Sequence[StoredJob], now: float) -> None:
    """Add jobs with all that is known of them; those that are in this queue stay as they are.

    Raises:
        DuplicateJobError: an id belongs to a job of another queue or to one that has finished.
    """
    for job in jobs:
        values = _values_of(row, job)
        added = c.execute(_MOVE_IN, values).rowcount == 1
        if not added and not _is_here(c, row, job.id, now):
            transitions.make_way(c, row, job.id, now)
            added = c.execute(_MOVE_IN, values).rowcount == 1
        if added and job.state is JobState.DEAD:
            _lay_down(c, row, job, now)


def _values_of(row: QueueRow, job: StoredJob) -> tuple[Any, ...]:
    rank = -job.priority if row.queue_type == "priority" else 0
    return (row.queue, job.state, rank, *job[1:3], *job[4:12])


def _is_here(c: Connection, row: QueueRow, job_id: str, now: float) -> bool:
    found = c.execute(
        """
        select 1 from jobs j left join outcomes o on o.seq = j.seq
        where j.id = ? and j.queue = ? and j.state <= 3 and ifnull(o.forget_at > ?, 1)
        """,
        (job_id, row.queue, now),
    )
    return found.fetchone() is not None


def _lay_down(c: Connection, row: QueueRow, job: StoredJob, now: float) -> None:
    failure = job.failure or Failure("rejected", "Reject", "no reason was given")
    died_at = now if job.died_at is None else job.died_at
    ttl = row.options.dead_letter_ttl
    c.execute(_BURY, (died_at, None if ttl is None else died_at + ttl, *failure, job.id))


class LocalOutlet:
    """The way out of one queue of a `LocalStore`; holds nothing, so that closing lets nothing go.

    What is published while it is used is taken as well; what is released to a place that it has
    passed is not.
    """

    def __init__(self, store: LocalStore, row: QueueRow) -> None:
        self._store = store
        self._row = row
        self._last_seq = 0
        self._last_death = 0

    def take(self, limit: int) -> list[StoredJob]:
        """Return up to `limit` of the next jobs, each once; none when there are no more."""
        with self._store.database.reading() as c:
            now = self._store.now()
            found = c.execute(_WAITING, (self._row.queue, self._last_seq, now, limit)).fetchall()
            left = limit - len(found)
            dead = c.execute(_DEAD, (self._row.queue, self._last_death, now, left)).fetchall()
        if found:
            self._last_seq = found[-1][0]
        if dead:
            self._last_death = dead[-1][0]
        buried = [_stored(each[1:13], Failure(*each[13:17]), each[17]) for each in dead]
        return [*map(_stored, found), *buried]

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Remove jobs that were taken; return those that were not there any more."""
        with self._store.database.writing() as c:
            gone = take_out(c, jobs)
        self._store.ring_results()  # whoever waits for one of them learns that it is not here
        return gone

    def close(self) -> None:
        """Do nothing: nothing was held."""


def _stored(
    values: tuple[Any, ...], failure: Failure | None = None, died_at: float | None = None
) -> StoredJob:
    entry, job_id, body, state, *facts = values
    return StoredJob._make([entry, job_id, body, JobState(state), *facts, failure, died_at])


class LocalInlet:
    """The way into one queue of a `LocalStore`."""

    def __init__(self, store: LocalStore, row: QueueRow) -> None:
        self._store = store
        self._row = row

    def add(self, jobs: Sequence[StoredJob]) -> None:
        """Add jobs with their state, counters and failures, all of them or none."""
        row = self._row
        with self._store.database.writing() as c:
            if not c.execute("select 1 from queues where queue = ?", (row.queue,)).fetchone():
                raise QueueNotFoundError(row.name)
            now = self._store.now()
            transitions.expire(c, now)
            bring_in(c, row, jobs, now)
        self._store.presence.ring(row.queue, len(jobs))

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Take back jobs that came in; return those that were not waiting any more."""
        with self._store.database.writing() as c:
            gone = take_back(c, self._row, jobs)
        self._store.ring_results()
        return gone

    def close(self) -> None:
        """Do nothing: nothing was held."""
