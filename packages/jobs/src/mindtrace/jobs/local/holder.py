"""`LocalHolder`: one consumer's hold on the SQLite store."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from mindtrace.jobs.backend import Delivery, Reception, Settlement
from mindtrace.jobs.errors import BackendUnavailableError, QueueNotFoundError
from mindtrace.jobs.local import claiming, transitions
from mindtrace.jobs.local import statements as sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from mindtrace.jobs.local.store import LocalStore
    from mindtrace.jobs.local.transitions import QueueRow

LOOK_AGAIN = 1.0
"""Seconds a waiting holder blocks at most before it looks whether another one died."""

REAP_EVERY = 0.5
"""Seconds between two such looks of a holder that is busy."""


class LocalHolder:
    """A living hold on a `LocalStore`: its slot's kernel lock stands for all that it leased.

    `receive` is called by one thread at a time; the other methods by any.
    """

    def __init__(self, store: LocalStore, slot: int) -> None:
        self._store = store
        self._slot = slot
        self._turn = 0
        self._woken = False  # a plain flag: a signal handler sets it, whatever lock it interrupted
        self._open = True
        self._pid = os.getpid()
        self._reaped_at = store.monotonic()

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        """Settle, then lease up to `limit` jobs of one of the queues; see `Holder.receive`."""
        deliveries, stale = self._exchange(queues, limit, settlements)
        if deliveries or wait == 0 or self._woken:
            self._woken = False
            return Reception(deliveries, stale)
        end = None if wait is None else self._store.monotonic() + wait
        while not self._woken:
            left = LOOK_AGAIN if end is None else end - self._store.monotonic()
            if left <= 0:
                break
            deliveries = self._look_and_block(queues, limit, min(left, LOOK_AGAIN))
            if deliveries:
                break
        self._woken = False
        return Reception(deliveries, stale)

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Settle deliveries and return those that were refused as stale."""
        if not settlements:
            return []
        self._check_open()
        with self._store.database.writing() as c:
            stale = transitions.settle(c, settlements, self._store.options(), self._store.now())
        self._ring_after(settlements)
        return stale

    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        """Lease these very jobs; None for each that cannot be leased. See `Holder.claim`."""
        self._check_open()
        row = self._store.row(queue)
        found = self._claim_these(row, job_ids, steal=steal)
        if None in found:
            fresh = self._store.row(queue, fresh=True)
            if self._reap() or fresh != row:
                missing = [job_id for job_id, it in zip(job_ids, found, strict=True) if it is None]
                again = iter(self._claim_these(fresh, missing, steal=steal))
                found = [next(again) if each is None else each for each in found]
        return found

    def cancelled(self) -> frozenset[str]:
        """Return the ids, among the jobs held here, whose cancelling was asked for."""
        with self._store.database.reading() as c:
            return frozenset(
                job_id
                for (job_id,) in c.execute(
                    "select id from jobs where holder = ? and state = 2 and cancel = 1",
                    (self._slot,),
                )
            )

    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        """Record how far a delivery is. A stale delivery records nothing."""
        with self._store.database.writing() as c:
            c.execute(
                "update jobs set progress = ? where seq = ? and delivery = ? and state = 2",
                (json.dumps([done, total]), delivery.entry, delivery.delivery),
            )

    def wake(self) -> None:
        """Make a blocked `receive` return empty-handed."""
        self._woken = True
        if self._open:
            self._store.presence.wake(self._slot)

    def close(self) -> None:
        """Let go: what is still held is ready again, counted as lost."""
        if self._open and self._pid == os.getpid():
            self._open = False
            try:
                self._store.lose(self._slot)
            finally:
                self._store.presence.release(self._slot)

    def abandon(self) -> None:
        """End as a killed process does: the kernel lock goes, nothing is written."""
        if self._open and self._pid == os.getpid():
            self._open = False
            self._store.presence.release(self._slot)

    def _exchange(
        self, queues: Sequence[str], limit: int, settlements: Sequence[Settlement]
    ) -> tuple[list[Delivery], list[Settlement]]:
        """Settle and claim in one transaction."""
        self._check_open()
        store = self._store
        rows = store.rows(queues) if not settlements else None
        if store.monotonic() - self._reaped_at >= REAP_EVERY:
            self._reap()
        stale: list[Settlement] = []
        with store.database.writing() as c:
            now = store.now()
            if settlements:
                stale = transitions.settle(c, settlements, store.options(), now)
                rows = store.cached_rows(queues)
            # an unknown queue is an error, but not before the settlements are safe
            known = rows is not None and len(rows) == len(queues)
            deliveries = self._claim(c, rows, limit, now) if rows and known else []
        if settlements:
            self._ring_after(settlements)
        if not deliveries:
            deliveries = self._second_look(queues, limit)
        return deliveries, stale

    def _second_look(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """Look whether queues changed or a holder died, and claim again if so."""
        before = self._store.cached_rows(queues)
        rows = self._store.rows(queues, fresh=True)
        if not self._reap() and rows == before:
            return []
        with self._store.database.writing() as c:
            return self._claim(c, rows, limit, self._store.now())

    def _claim(self, c: Connection, rows: list[QueueRow], limit: int, now: float) -> list[Delivery]:
        transitions.expire(c, now)
        for offset in range(len(rows)):
            place = (self._turn + offset) % len(rows)
            row = rows[place]
            c.execute(sql.PROMOTE, (row.queue, now))
            deliveries = transitions.claim(c, row, self._slot, limit)
            if deliveries:
                self._turn = place + 1
                return deliveries
        return []

    def _claim_these(
        self, row: QueueRow, job_ids: Sequence[str], *, steal: bool
    ) -> list[Delivery | None]:
        with self._store.database.writing() as c:
            now = self._store.now()
            transitions.expire(c, now)
            found = [
                claiming.claim_one(c, row, self._slot, job_id, now, steal=steal)
                for job_id in job_ids
            ]
        if steal:
            self._store.ring_results()
        return found

    def _look_and_block(self, queues: Sequence[str], limit: int, longest: float) -> list[Delivery]:
        """Show that this slot waits, look once more, and block until rung."""
        store = self._store
        rows = store.rows(queues)
        store.presence.show(self._slot, tuple(row.queue for row in rows))
        try:
            deliveries, _ = self._exchange(queues, limit, ())
            if not deliveries and not self._woken:
                store.presence.wait(self._slot, min(longest, store.seconds_to_next_due(rows)))
                deliveries, _ = self._exchange(queues, limit, ())
        finally:
            store.presence.show(self._slot, ())
        if deliveries:
            self._pass_on(deliveries)
        return deliveries

    def _pass_on(self, deliveries: list[Delivery]) -> None:
        """Ring one more of those who wait if there is more to do: one ring may stand for two."""
        try:
            row = self._store.row(deliveries[0].queue)
            with self._store.database.reading() as c:
                more = c.execute(
                    "select exists (select 1 from jobs where queue = :queue and state = 0) "
                    "or exists (select 1 from jobs where queue = :queue and state = 1 "
                    "and due_at <= :soon)",
                    {"queue": row.queue, "soon": self._store.now() + LOOK_AGAIN},
                ).fetchone()[0]
        except (BackendUnavailableError, QueueNotFoundError):
            return  # what was claimed must be run; the others look by themselves in a second
        if more:
            self._store.presence.ring(row.queue, 1)

    def _reap(self) -> bool:
        self._reaped_at = self._store.monotonic()
        return self._store.reap()

    def _ring_after(self, settlements: Sequence[Settlement]) -> None:
        """Wake those for whom the settled jobs made a difference."""
        back = {each.delivery.queue for each in settlements if each.verdict in ("nack", "release")}
        for name in back:
            self._store.ring(name, len(settlements))
        if any(each.delivery.keep is not None for each in settlements):
            self._store.ring_results()

    def __del__(self) -> None:
        """Let the slot go when nobody has this hold any more; another holder takes over."""
        if self._open and self._pid == os.getpid():
            # not at once: the collector may run this inside of presence's own locks
            self._store.presence.release_later(self._slot)

    def _check_open(self) -> None:
        if not self._open or self._pid != os.getpid():
            whose = (
                "was closed" if not self._open else "belongs to the process that forked this one"
            )
            reason = f"this consumer's hold {whose}; open a new one"
            raise BackendUnavailableError("local", self._store.address, reason, transient=False)
