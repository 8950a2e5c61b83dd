"""Looking into the store without changing it. Each function reads inside one open transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mindtrace.jobs.backend import DeadRecord, Delivery, Failure, JobRecord, QueueStats
from mindtrace.jobs.lifecycle import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from sqlite3 import Connection

    from mindtrace.jobs.local.transitions import QueueRow

_ALIVE = "(o.forget_at is null or o.forget_at > :now)"


def _one(c: Connection, statement: str, **values: object) -> Any:
    found = c.execute(statement, values).fetchone()
    return found[0] if found else None


def stats(c: Connection, row: QueueRow, now: float, is_dead: Callable[[int], bool]) -> QueueStats:
    """Count the jobs of a queue as they are at this moment, whoever has looked before."""
    facts: dict[str, object] = {"queue": row.queue, "now": now}
    ready = _one(c, "select count(*) from jobs where queue = :queue and state = 0", **facts)
    expired = c.execute(
        """
        select state, due_at from jobs
        where expires_at <= :now and queue = :queue and state in (0, 1)
        """,
        facts,
    ).fetchall()
    waiting = _one(c, "select count(*) from jobs where queue = :queue and state = 1", **facts)
    due = _one(
        c,
        "select count(*) from jobs where queue = :queue and state = 1 and due_at <= :now",
        **facts,
    )
    expired_due = sum(1 for state, at in expired if state == JobState.DELAYED and at <= now)
    expired_ready = sum(1 for state, _ in expired if state == JobState.READY)
    leased = c.execute(
        "select holder, count(*) from jobs where state = 2 and queue = :queue group by holder",
        facts,
    ).fetchall()
    lost = sum(count for holder, count in leased if is_dead(holder))
    dead = _one(
        c,
        f"select count(*) from outcomes o where queue = :queue and state = 3 and {_ALIVE}",  # noqa: S608
        **facts,
    )
    oldest = _oldest(c, row, now)
    return QueueStats(
        queue=row.name,
        queue_type=row.queue_type,
        ready=ready + due + lost - expired_ready - expired_due,
        delayed=waiting - due - (len(expired) - expired_ready - expired_due),
        leased=sum(count for _, count in leased) - lost,
        dead=dead,
        oldest_ready_age=None if oldest is None else max(0.0, now - oldest),
    )


def _oldest(c: Connection, row: QueueRow, now: float) -> float | None:
    """Return when the oldest ready or due job was published: one seek for each priority."""
    found = [
        _one(
            c,
            "select min(published_at) from jobs "
            "where queue = :queue and state = 1 and due_at <= :now",
            queue=row.queue,
            now=now,
        )
    ]
    rank = -(1 << 63)
    while True:
        rank = _one(
            c,
            "select rank from jobs where queue = :queue and state = 0 and rank > :rank "
            "order by rank limit 1",
            queue=row.queue,
            rank=rank,
        )
        if rank is None:
            break
        found.append(
            _one(
                c,
                "select published_at from jobs where queue = :queue and state = 0 and rank = :rank "
                "order by seq limit 1",
                queue=row.queue,
                rank=rank,
            )
        )
    return min((each for each in found if each is not None), default=None)


def waiting(c: Connection, row: QueueRow, now: float) -> list[Delivery]:
    """Return the ready jobs of a queue in its order."""
    order = "seq desc" if row.queue_type == "stack" else "rank, seq"
    found = c.execute(
        f"""
        select seq, id, body, delivery, attempts, lost, priority, keep, :name from jobs
        where queue = :queue and (expires_at is null or expires_at > :now)
          and (state = 0 or state = 1 and due_at <= :now) order by {order}
        """,  # noqa: S608 - one of two constants
        {"queue": row.queue, "name": row.name, "now": now},
    )
    return list(map(Delivery._make, found))


def dead_letters(
    c: Connection, row: QueueRow, now: float, *, limit: int, after: str | None
) -> list[DeadRecord]:
    """Return a page of dead letters in the order of their deaths."""
    found = c.execute(
        f"""
        select j.seq, j.id, j.body, j.delivery, j.attempts, j.lost, j.priority, j.keep, :name,
               o.reason, o.error_type, o.message, o.traceback, o.finished_at
        from outcomes o join jobs j on j.seq = o.seq
        where o.queue = :queue and o.state = 3 and {_ALIVE} and o.number > ifnull((
          select p.number from outcomes p join jobs k on k.seq = p.seq where k.id = :after), 0)
        order by o.number limit :limit
        """,  # noqa: S608 - a constant
        {"queue": row.queue, "name": row.name, "now": now, "after": after, "limit": limit},
    ).fetchall()
    return [
        DeadRecord(Delivery(*each[:9]), Failure(*each[9:13]), died_at=each[13]) for each in found
    ]


def dead_seqs(c: Connection, row: QueueRow, now: float, job_ids: Sequence[str] | None) -> list[int]:
    """Return the entries of dead letters of a queue: those named, or all, oldest death first."""
    letters = "select o.seq from outcomes o join jobs j on j.seq = o.seq"
    statement = f"{letters} where o.queue = :queue and o.state = 3 and {_ALIVE}"
    facts = {"queue": row.queue, "now": now}
    if job_ids is None:
        return [seq for (seq,) in c.execute(f"{statement} order by o.number", facts)]
    found: list[int] = []
    for job_id in dict.fromkeys(job_ids):
        one = c.execute(f"{statement} and j.id = :id", {**facts, "id": job_id}).fetchone()
        found += one or ()
    return found


def record(c: Connection, job_id: str, now: float) -> JobRecord | None:
    """Return what is known of a job, or None."""
    found = c.execute(
        """
        select j.state, j.attempts, j.lost, j.delivery, j.progress, j.expires_at, j.keep,
               o.result, o.reason, o.error_type, o.message, o.traceback, o.forget_at,
               (select name from queues q where q.queue = j.queue)
        from jobs j left join outcomes o on o.seq = j.seq where j.id = ?
        """,
        (job_id,),
    ).fetchone()
    if found is None:
        return None
    state, attempts, lost, delivery, progress, expires_at, keep, result, reason = found[:9]
    error_type, message, traceback, forget_at, queue = found[9:]
    state = JobState(state)
    cancelled = reason
    if forget_at is not None and forget_at <= now:
        return None
    if state <= JobState.DELAYED and expires_at is not None and expires_at <= now:
        if keep is None:
            return None
        state, cancelled = JobState.CANCELLED, "expired"
    done = json.loads(progress) if progress else None
    return JobRecord(
        id=job_id,
        queue=queue,
        state=state,
        attempts=attempts,
        lost=lost,
        delivery=delivery,
        progress=None if done is None else (done[0], done[1]),
        result=result,
        failure=Failure(reason, error_type, message, traceback) if state == JobState.DEAD else None,
        reason=cancelled if state == JobState.CANCELLED else None,
    )
