"""The SQL of the hot path, beside the transitions that use it: publishing, claiming, settling."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.jobs.backend import QueueType

LAST_SEQ = "max(ifnull((select max(seq) from jobs), 0), (select high from counter))"
"""The highest sequence number ever given out, see schema.sql."""

# One statement, one implicit transaction: the queue is looked up in it, so that a queue which
# another process deleted takes nothing, and an id that is taken changes nothing.
PUBLISH = f"""
insert into jobs
  (seq, queue, state, rank, id, body, priority, published_at, due_at, expires_at, keep)
select {LAST_SEQ} + 1, queue, ?, ?, ?, ?, ?, ?, ?, ?, ?
from queues where queue = ?
on conflict (id) do nothing
"""  # noqa: S608 - a constant

PUBLISH_AT = """
insert into jobs
  (state, rank, id, body, priority, published_at, due_at, expires_at, keep, queue, seq)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (id) do nothing
"""

_CLAIM = """
update jobs set state = 2, delivery = delivery + 1, holder = ?
where seq in (select seq from jobs where queue = ? and state = 0 {order} limit ?)
returning seq, id, body, delivery, attempts, lost, priority, keep, ?
"""
_IN_ORDER = _CLAIM.format(order="order by rank, seq")
CLAIM: dict[QueueType, str] = {
    "fifo": _IN_ORDER,
    "priority": _IN_ORDER,
    # every rank of a stack is 0; saying so lets the index be read backwards
    "stack": _CLAIM.format(order="and rank = 0 order by seq desc"),
}

UNCLAIM = "update jobs set state = 0, delivery = delivery - 1, holder = null where seq = ?"
"""Undo a claim inside the transaction that made it: nobody saw that delivery number."""

PROMOTE = """
update jobs set state = 0, due_at = null where seq in (
  select seq from jobs where state = 1 and queue = ? and due_at <= ? order by due_at limit 10000)
"""

FORGET_HELD = "delete from jobs where seq = ? and delivery = ? and state = 2"

RAISE_HIGH_TO_LAST = f"update counter set high = {LAST_SEQ}"  # noqa: S608 - a constant

RAISE_HIGH = "update counter set high = ? where high < ?"
