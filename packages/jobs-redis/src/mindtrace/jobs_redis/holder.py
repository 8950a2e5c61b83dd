"""`RedisHolder`: one consumer's hold on the Redis store."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from mindtrace.jobs.backend import Delivery, QueueOptions, Reception, Settlement
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs_redis import keeping, packing
from mindtrace.jobs_redis.listening import LONGEST, Ear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs_redis.store import RedisStore

SWEEP_EVERY = 1.0
"""Seconds between two looks of a busy holder for records whose time is over."""

LEARN_EVERY = 30.0
"""Seconds after which a lease that another client changed is heard of."""


class RedisHolder:
    """A living hold on a `RedisStore`: a lease in Redis that a process of its own renews.

    `receive` is called by one thread at a time; the other methods by any.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._server = store.server
        self._lease = QueueOptions().lease
        self._lease_is_chosen = False
        self._learnt_at = self._swept_at = store.monotonic()
        self._turn = 0
        self._woken = False  # a plain flag: a signal handler sets it, whatever lock it interrupted
        self._open = False
        self._pid = os.getpid()
        self._ear: Ear | None = None
        self._held: dict[int | str, int] = {}
        self._is_unsure = False
        self.number = int(self._server.call_again("hold", self._lease))
        self._keeper = keeping.keeper_for(store.place)
        self._keeper.hold(store.place.base, self.number, self._lease)
        self._open = True

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        """Settle, then lease up to `limit` jobs of one of the queues; see `Holder.receive`."""
        deliveries, stale, due = self._exchange(queues, limit, settlements)
        if not deliveries and wait != 0:
            try:
                deliveries = self._block(queues, limit, wait, due)
            except BackendUnavailableError:
                if not settlements:
                    raise
                # what was settled is known: this must be told, and the next call tells the rest
        self._woken = False
        return Reception(deliveries, stale)

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Settle deliveries and return those that were refused as stale."""
        if not settlements:
            return []
        self._check_open()
        places = self._server.call("settle", *packing.settlement_args(settlements))
        self._let_go_of(settlements)
        return [settlements[place] for place in places]

    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        """Lease these very jobs, whatever else waits; see `Holder.claim`."""
        self._check_open()
        self._prepare((queue,))
        answer = self._ask(
            "claim", self.number, self._lease, queue, "1" if steal else "0", *job_ids
        )
        if answer == ["missing"]:
            self._store.unknown_queue(queue)
        found = packing.claims_of(answer, queue)
        self._held.update({each.entry: each.delivery for each in found if each})
        return found

    def cancelled(self) -> frozenset[str]:
        """Return the ids, among the jobs held here, whose cancelling was asked for."""
        return frozenset(self._server.call_again("cancelled", self.number))

    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        """Record how far a delivery is. A stale delivery records nothing."""
        self._server.call_again(
            "progress", delivery.id, delivery.entry, delivery.delivery, json.dumps([done, total])
        )

    def wake(self) -> None:
        """Make a blocked `receive` return empty-handed."""
        self._woken = True
        ear = self._ear
        if ear is not None and self._pid == os.getpid():
            ear.wake()

    def close(self) -> None:
        """Let go: what is still held is ready again, counted as lost."""
        if self._open and self._pid == os.getpid():
            self.abandon()
            self._server.call("leave", self.number)

    def die(self) -> None:
        """End as a killed process does, for tests: the lease ends, and nothing else is written."""
        if self._open:
            self.abandon()
            self._server.call("renew", self.number, 0)

    def __del__(self) -> None:
        """End the lease when nobody has this hold any more; others take over."""
        self.abandon()

    def abandon(self) -> None:
        """Have the keeper end the lease, and write nothing else: others take over."""
        if not self._open or self._pid != os.getpid():
            return
        self._open = False
        self._keeper.end(self._store.place.base, self.number)
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()

    def _exchange(
        self,
        queues: Sequence[str],
        limit: int,
        settlements: Sequence[Settlement] = (),
        *,
        was_rung: bool = False,
    ) -> tuple[list[Delivery], list[Settlement], float]:
        """Settle and claim in one script; also return the seconds until a delayed job is due."""
        self._check_open()
        self._prepare(queues)
        turn = self._turn % len(queues)
        ordered = [*queues[turn:], *queues[:turn]]
        served, due, places, flat = self._ask(
            "receive",
            self.number,
            self._lease,
            limit,
            "1" if was_rung else "0",
            self._is_time_to_sweep(),
            len(ordered),
            *ordered,
            *packing.settlement_args(settlements),
        )
        self._let_go_of(settlements)
        if served < 0:
            self._raise_unknown(queues)
        deliveries: list[Delivery] = []
        if served:
            self._turn = turn + served
            deliveries = packing.deliveries_of(flat, ordered[served - 1])
            self._held.update({each.entry: each.delivery for each in deliveries})
        stale = [settlements[int(place)] for place in places]
        return deliveries, stale, float(due) if due else LONGEST

    def _block(
        self, queues: Sequence[str], limit: int, wait: float | None, due: float
    ) -> list[Delivery]:
        """Block until there is something to do; look again at each ring and each second."""
        end = None if wait is None else self._store.monotonic() + wait
        if self._ear is None:
            self._ear = Ear(self._server)
        keys = [f"{self._store.place.base}:wake:{queue}" for queue in queues]
        while not self._woken:
            left = LONGEST if end is None else end - self._store.monotonic()
            if left <= 0:
                break
            self._ear.listen(keys, min(left, due, LONGEST))
            deliveries, _, due = self._exchange(queues, limit, was_rung=True)
            if deliveries:
                return deliveries
        return []

    def _ask(self, name: str, *args: Any) -> Any:
        """Run a script that leases; what it leased when its answer is lost is given back later."""
        try:
            return self._server.call(name, *args)
        except BaseException:
            self._is_unsure = True
            raise

    def _prepare(self, queues: Sequence[str]) -> None:
        """Give back what an earlier answer was to bring, and choose the lease."""
        if self._is_unsure:
            known = [each for pair in list(self._held.items()) for each in pair]
            self._server.call("reclaim", self.number, *known)
            self._is_unsure = False
        now = self._store.monotonic()
        if now - self._learnt_at > LEARN_EVERY:
            self._learnt_at = now
            self._store.queues()
        lease = self._store.shortest_lease(queues)
        if lease < self._lease or not self._lease_is_chosen:
            self._lease, self._lease_is_chosen = lease, True
            self._keeper.hold(self._store.place.base, self.number, lease)

    def _is_time_to_sweep(self) -> str:
        now = self._store.monotonic()
        if now - self._swept_at < SWEEP_EVERY:
            return "0"
        self._swept_at = now
        return "1"

    def _let_go_of(self, settlements: Sequence[Settlement]) -> None:
        for each in settlements:
            self._held.pop(each.delivery.entry, None)

    def _raise_unknown(self, queues: Sequence[str]) -> None:
        known = self._store.queues()
        for name in queues:
            if name not in known:
                self._store.unknown_queue(name)
        # declared again between the two looks: the next call finds it

    def _check_open(self) -> None:
        if not self._open or self._pid != os.getpid():
            whose = "belongs to the process that forked this one" if self._open else "was closed"
            reason = f"this consumer's hold {whose}; open a new one"
            raise BackendUnavailableError("redis", self._store.address, reason, transient=False)
