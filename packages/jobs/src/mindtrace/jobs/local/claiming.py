"""Leasing a job by its id, inside one open transaction.

Another backend whose ledger is a local store asks for it: there the broker says which job is next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindtrace.jobs.backend import Delivery
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.local import transitions

if TYPE_CHECKING:
    from sqlite3 import Connection

    from mindtrace.jobs.local.transitions import QueueRow

_LEASE = """
update jobs set state = 2, delivery = delivery + 1, holder = ?, due_at = null where seq = ?
returning seq, id, body, delivery, attempts, lost, priority, keep, ?
"""


def claim_one(
    c: Connection, row: QueueRow, slot: int, job_id: str, now: float, *, steal: bool
) -> Delivery | None:
    """Lease a job that is ready or due, with `steal` also one that is held; else return None."""
    found = c.execute(
        "select seq, state, due_at from jobs where id = ? and queue = ?", (job_id, row.queue)
    ).fetchone()
    if found is None:
        return None
    seq, state, due_at = found
    is_free = state == JobState.READY or (state == JobState.DELAYED and due_at <= now)
    if state == JobState.LEASED and steal:
        is_free = transitions.lose_one(c, seq, row.options, now)
    if not is_free:
        return None
    return Delivery(*c.execute(_LEASE, (slot, seq, row.name)).fetchone())
