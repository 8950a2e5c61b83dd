"""The transitions of a job inside one open transaction; each function is one of them.

They take the connection first and know nothing of locks, clocks or waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mindtrace.jobs.backend import Delivery, Entry, Failure, QueueOptions, QueueType, Settlement
from mindtrace.jobs.errors import DuplicateJobError
from mindtrace.jobs.lifecycle import UNFINISHED, JobState
from mindtrace.jobs.local import statements as sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from sqlite3 import Connection


class QueueRow(NamedTuple):
    """A row of the table of queues."""

    queue: int
    name: str
    queue_type: QueueType
    options: QueueOptions


def values_of(row: QueueRow, entry: Entry, now: float) -> tuple[Any, ...]:
    """Return the columns of a new job, in the order of the publishing statements."""
    delayed = entry.delay > 0
    return (
        JobState.DELAYED if delayed else JobState.READY,
        -entry.priority if row.queue_type == "priority" else 0,
        entry.id,
        entry.body,
        entry.priority,
        now,
        now + entry.delay if delayed else None,
        None if entry.ttl is None else now + entry.ttl,
        entry.keep,
        row.queue,
    )


def add_all(c: Connection, row: QueueRow, entries: Sequence[Entry], now: float) -> list[str]:
    """Add entries without dedup keys, or raise and add none."""
    (last,) = c.execute(f"select {sql.LAST_SEQ}").fetchone()
    rows = [(*values_of(row, entry, now), seq) for seq, entry in enumerate(entries, last + 1)]
    if c.executemany(sql.PUBLISH_AT, rows).rowcount != len(rows):
        made_way = [make_way(c, row, entry.id, now) for entry in entries]
        if any(made_way):
            # once more from the start, so that all of them keep their order
            c.execute("delete from jobs where seq > ?", (last,))
            c.executemany(sql.PUBLISH_AT, rows)
    return [entry.id for entry in entries]


def add(c: Connection, row: QueueRow, entry: Entry, now: float) -> str:
    """Add one entry, or return the id of the job that stands for it already."""
    known = c.execute(
        """
        select d.id, d.until > :now or ifnull(j.state, 3) < 3 from dedup d
        left join jobs j on j.seq = d.seq where d.queue = :queue and d.key = :key
        """,
        {"now": now, "queue": row.queue, "key": entry.dedup_key},
    ).fetchone()
    if known and known[1]:
        return str(known[0])
    added = c.execute(sql.PUBLISH, values_of(row, entry, now)).rowcount == 1
    if not added and make_way(c, row, entry.id, now):
        added = c.execute(sql.PUBLISH, values_of(row, entry, now)).rowcount == 1
    if added and entry.dedup_key is not None:
        c.execute(
            "insert or replace into dedup (queue, key, seq, id, until, look_at) "
            "select queue, ?, seq, id, ?, ? from jobs where id = ?",
            (
                entry.dedup_key,
                now + entry.dedup_ttl,
                now + max(entry.dedup_ttl, LOOK_AT_KEYS_EVERY),
                entry.id,
            ),
        )
    return entry.id


def make_way(c: Connection, row: QueueRow, job_id: str, now: float) -> bool:
    """Tell whether an id that was taken is free again, for the record that had it is over.

    Raises:
        DuplicateJobError: the id belongs to a job of another queue or to one that has finished.
    """
    found = c.execute(
        """
        select j.seq, j.queue, j.state, ifnull(o.forget_at <= ?, 0),
               (select name from queues q where q.queue = j.queue)
        from jobs j left join outcomes o on o.seq = j.seq where j.id = ?
        """,
        (now, job_id),
    ).fetchone()
    if found is None:
        return True  # twice in one batch: the first of them has made way already
    seq, queue, state, is_over, name = found
    if is_over:
        forget(c, [seq])
    elif queue != row.queue or state not in UNFINISHED:
        raise DuplicateJobError(job_id, str(name), JobState(state).name.lower())
    return bool(is_over)


def claim(c: Connection, row: QueueRow, slot: int, limit: int) -> list[Delivery]:
    """Lease up to `limit` ready jobs in the queue's order; one that was lost comes alone."""
    rows = c.execute(sql.CLAIM[row.queue_type], (slot, row.queue, limit, row.name)).fetchall()
    deliveries = list(map(Delivery._make, rows))
    if len(deliveries) > 1:
        _in_order(deliveries, row.queue_type)
        deliveries = _cut_before_lost(c, deliveries)
    return deliveries


def _in_order(deliveries: list[Delivery], queue_type: QueueType) -> None:
    """Sort in place: what an update returns comes in no promised order."""
    deliveries.sort(reverse=queue_type == "stack")
    if queue_type == "priority":
        deliveries.sort(key=lambda each: -each.priority)


def _cut_before_lost(c: Connection, deliveries: list[Delivery]) -> list[Delivery]:
    lost = [place for place, each in enumerate(deliveries) if each.lost]
    if not lost:
        return deliveries
    cut = max(lost[0], 1)
    c.executemany(sql.UNCLAIM, [(each.entry,) for each in deliveries[cut:]])
    return deliveries[:cut]


def settle(
    c: Connection, settlements: Sequence[Settlement], options: dict[str, QueueOptions], now: float
) -> list[Settlement]:
    """Settle, and return what was stale. Must come first in its transaction."""
    plain: list[Settlement] = []
    others: list[Settlement] = []
    for each in settlements:
        bare = each.verdict == "ack" and each.delivery.keep is None
        (plain if bare else others).append(each)
    stale = _forget_plain(c, plain) if plain else []
    stale += [each for each in others if not _settle_one(c, each, options, now)]
    return stale


def _forget_plain(c: Connection, plain: list[Settlement]) -> list[Settlement]:
    """Forget completed jobs of which nothing is kept; return those that were not ours to forget."""
    held = [(each.delivery.entry, each.delivery.delivery) for each in plain]
    high = max(held)[0]
    c.execute(sql.RAISE_HIGH, (high, high))
    c.execute("savepoint plain")
    stale: list[Settlement] = []
    if c.executemany(sql.FORGET_HELD, held).rowcount != len(held):
        # some were stale: once more, one by one, to learn which
        c.execute("rollback to plain")
        stale = [
            each
            for each, key in zip(plain, held, strict=True)
            if c.execute(sql.FORGET_HELD, key).rowcount != 1
        ]
    c.execute("release plain")
    return stale


def _settle_one(
    c: Connection, settlement: Settlement, options: dict[str, QueueOptions], now: float
) -> bool:
    delivery = settlement.delivery
    held = c.execute(
        "select cancel from jobs where seq = ? and delivery = ? and state = 2",
        (delivery.entry, delivery.delivery),
    ).fetchone()
    if held is None:
        return False
    seq = int(delivery.entry)
    if held[0]:
        finish(c, seq, JobState.CANCELLED, now, reason="cancelled while it ran")
        return True
    match settlement.verdict:
        case "ack":
            finish(c, seq, JobState.COMPLETED, now, result=settlement.result)
        case "nack":
            _put_back(c, seq, settlement.attempts, settlement.delay, now)
        case "release":
            c.execute("update jobs set state = 0, holder = null where seq = ?", (seq,))
        case "reject":
            bury(c, seq, settlement, options.get(delivery.queue, QueueOptions()), now)
    return True


def _put_back(c: Connection, seq: int, attempts: int, delay: float, now: float) -> None:
    delayed = delay > 0
    c.execute(
        "update jobs set state = ?, due_at = ?, attempts = ?, holder = null where seq = ?",
        (int(delayed), now + delay if delayed else None, attempts, seq),
    )


def bury(
    c: Connection, seq: int, settlement: Settlement, options: QueueOptions, now: float
) -> None:
    """Put a job to the dead letters."""
    failure = settlement.failure or Failure("rejected", "Reject", "no reason was given")
    c.execute("update jobs set attempts = ? where seq = ?", (settlement.attempts, seq))
    finish(c, seq, JobState.DEAD, now, failure=failure, keep=options.dead_letter_ttl)


def finish(  # noqa: PLR0913 - the facts of an outcome
    c: Connection,
    seq: int,
    state: JobState,
    now: float,
    *,
    keep: float | None = None,
    result: str | None = None,
    failure: Failure | None = None,
    reason: str | None = None,
) -> None:
    """End a job. Its row stays while an outcome is kept; dead letters are always kept."""
    dead = state is JobState.DEAD
    if not dead:
        (keep,) = c.execute("select keep from jobs where seq = ?", (seq,)).fetchone()
        if keep is None:
            forget(c, [seq])
            return
    c.execute(
        "update jobs set state = ?, holder = null, due_at = null, expires_at = null, cancel = 0, "
        "body = iif(?, body, '') where seq = ?",
        (state, dead, seq),
    )
    c.execute(
        """
        insert into outcomes (seq, queue, state, finished_at, forget_at, result, reason,
                              error_type, message, traceback)
        select seq, queue, state, ?, ?, ?, ?, ?, ?, ? from jobs where seq = ?
        """,
        (
            now,
            None if keep is None else now + keep,
            result,
            failure.reason if failure else reason,
            failure and failure.error_type,
            failure and failure.message,
            failure and failure.traceback,
            seq,
        ),
    )


def forget(c: Connection, seqs: Iterable[int]) -> None:
    """Remove entries and their outcomes for good."""
    keys = [(seq,) for seq in seqs]
    if not keys:
        return
    high = max(keys)[0]
    c.execute(sql.RAISE_HIGH, (high, high))
    c.executemany("delete from jobs where seq = ?", keys)
    c.executemany("delete from outcomes where seq = ?", keys)


def lose(c: Connection, slot: int, options: dict[int, QueueOptions], now: float) -> list[int]:
    """Count what a vanished holder held as lost; return the queues that have ready jobs now."""
    held = c.execute(
        "select seq, queue from jobs where holder = ? and state = 2", (slot,)
    ).fetchall()
    return [
        queue for seq, queue in held if lose_one(c, seq, options.get(queue, QueueOptions()), now)
    ]


def lose_one(c: Connection, seq: int, options: QueueOptions, now: float) -> bool:
    """End a delivery without a settle; return whether the job is ready again by it."""
    lost, cancel = c.execute(
        "update jobs set lost = lost + 1 where seq = ? returning lost, cancel", (seq,)
    ).fetchone()
    if cancel:
        finish(c, seq, JobState.CANCELLED, now, reason="cancelled while it ran")
    elif lost >= options.max_deliveries:
        failure = Failure(
            "poison",
            "PoisonJob",
            f"{lost} deliveries ended without an answer: the consumer died or was cut off "
            "each time",
        )
        finish(c, seq, JobState.DEAD, now, failure=failure, keep=options.dead_letter_ttl)
    else:
        c.execute("update jobs set state = 0, holder = null where seq = ?", (seq,))
        return True
    return False


def expire(c: Connection, now: float) -> None:
    """Remove waiting jobs whose time to live is over."""
    over = c.execute(
        "select seq from jobs where expires_at <= ? and state in (0, 1)", (now,)
    ).fetchall()
    for (seq,) in over:
        finish(c, seq, JobState.CANCELLED, now, reason="expired")


FORGET_AT_ONCE = 1000
"""How many records whose time is over one sweep removes."""

LOOK_AT_KEYS_EVERY = 60.0
"""Seconds between two looks whether a dedup key still counts."""


def anything_over(c: Connection, now: float) -> bool:
    """Tell whether a kept record's time is over."""
    return bool(
        c.execute(
            "select exists (select 1 from outcomes where forget_at <= :now) "
            "or exists (select 1 from stored_results where forget_at <= :now) "
            "or exists (select 1 from dedup where look_at <= :now)",
            {"now": now},
        ).fetchone()[0]
    )


def forget_over(c: Connection, now: float) -> None:
    """Remove some of the kept outcomes and dedup keys whose time is over."""
    over = c.execute(
        "select seq from outcomes where forget_at <= ? limit ?", (now, FORGET_AT_ONCE)
    ).fetchall()
    forget(c, [seq for (seq,) in over])
    c.execute(
        "delete from stored_results where id in "
        "(select id from stored_results where forget_at <= ? limit ?)",
        (now, FORGET_AT_ONCE),
    )
    _forget_keys(c, now)


def _forget_keys(c: Connection, now: float) -> None:
    """Remove dedup keys that count no longer; look at the others again later."""
    found = c.execute(
        """
        select d.queue, d.key, d.until > :now or ifnull(j.state, 3) < 3 from dedup d
        left join jobs j on j.seq = d.seq where d.look_at <= :now limit :limit
        """,
        {"now": now, "limit": FORGET_AT_ONCE},
    ).fetchall()
    later = now + LOOK_AT_KEYS_EVERY
    c.executemany(
        "update dedup set look_at = ? where queue = ? and key = ?",
        [(later, queue, key) for queue, key, counts in found if counts],
    )
    c.executemany(
        "delete from dedup where queue = ? and key = ?",
        [(queue, key) for queue, key, counts in found if not counts],
    )


def purge(c: Connection, queue: int, now: float) -> int:
    """Remove what waits in a queue; those who wait for an outcome are told that there is none."""
    kept = c.execute(
        "select seq from jobs where queue = ? and state in (0, 1) and keep is not null", (queue,)
    ).fetchall()
    for (seq,) in kept:
        finish(c, seq, JobState.CANCELLED, now, reason="purged")
    c.execute(sql.RAISE_HIGH_TO_LAST)
    rest = c.execute("delete from jobs where queue = ? and state in (0, 1)", (queue,))
    return len(kept) + rest.rowcount


def requeue(c: Connection, seqs: list[int]) -> int:
    """Make dead letters ready again, with fresh counters, at their publish place."""
    keys = [(seq,) for seq in seqs]
    c.executemany("update jobs set state = 0, attempts = 0, lost = 0 where seq = ?", keys)
    c.executemany("delete from outcomes where seq = ?", keys)
    return len(keys)


def cancel(c: Connection, job_id: str, now: float) -> bool:
    """Cancel a waiting job, or mark a leased one so that it ends cancelled."""
    found = c.execute("select seq, state from jobs where id = ?", (job_id,)).fetchone()
    if found is None or found[1] not in UNFINISHED:
        return False
    seq, state = found
    if state == JobState.LEASED:
        c.execute("update jobs set cancel = 1 where seq = ?", (seq,))
    else:
        finish(c, seq, JobState.CANCELLED, now, reason="cancelled before it ran")
    return True
