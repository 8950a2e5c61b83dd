"""Rule 4: a stale holder's settle is refused and changes nothing, whatever ended its delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from mindtrace.jobs.backend import QueueOptions, QueueSpec, Settlement
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.harness import (
    Counts,
    Harness,
    ack,
    entry,
    ids,
    nack,
    reject,
    release,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.jobs.backend import Delivery, Holder


class Case(NamedTuple):
    """One delivery that is about to end."""

    harness: Harness
    queue: str
    holder: Holder
    delivery: Delivery

    def settle(self, settlement: Settlement) -> None:
        assert self.holder.settle([settlement]) == []

    def lost_and_redelivered(self) -> Delivery:
        self.harness.crash(self.holder)
        return self.again()

    def again(self) -> Delivery:
        return self.harness.take_one(self.harness.holder(), self.queue)


def _requeued(case: Case) -> Delivery:
    case.settle(reject(case.delivery))
    assert case.harness.store.requeue_dead(case.queue, None) == 1
    return case.again()


def _nacked_and_redelivered(case: Case) -> Delivery:
    case.settle(nack(case.delivery, delay=case.harness.span(10)))
    case.harness.advance(12)
    return case.again()


def _released_and_redelivered(case: Case) -> Delivery:
    case.settle(release(case.delivery))
    return case.harness.take_one(case.holder, case.queue)


def _cancelled(case: Case) -> None:
    if case.harness.capabilities.job_identity:
        assert case.harness.store.cancel(case.delivery.id)
    case.settle(ack(case.delivery))


def _published_again(case: Case) -> Delivery:
    """The same id, but another job: only the entry and its number tell them apart."""
    case.settle(ack(case.delivery))
    case.harness.advance(2000)
    case.harness.store.publish(case.queue, [entry(case.delivery.id, keep=case.delivery.keep)])
    return case.again()


def _declared_again(case: Case) -> Delivery:
    case.harness.store.delete_queue(case.queue)
    case.harness.store.declare_queue(QueueSpec(case.queue))
    case.harness.store.publish(case.queue, [entry(case.delivery.id, keep=case.delivery.keep)])
    return case.again()


ENDINGS: dict[str, Callable[[Case], Delivery | None]] = {
    "acked": lambda case: case.settle(ack(case.delivery)),
    "nacked": lambda case: case.settle(nack(case.delivery)),
    "nacked with delay": lambda case: case.settle(nack(case.delivery, case.harness.span(10))),
    "rejected": lambda case: case.settle(reject(case.delivery)),
    "released": lambda case: case.settle(release(case.delivery)),
    "lost and redelivered": Case.lost_and_redelivered,
    "cancelled": _cancelled,
    "queue deleted": lambda case: case.harness.store.delete_queue(case.queue),
    "queue declared again": _declared_again,
    "nacked and redelivered": _nacked_and_redelivered,
    "released and redelivered": _released_and_redelivered,
    "requeued and redelivered": _requeued,
    "published again": _published_again,
}
"""What may have ended a delivery; the value is the delivery that came after it, if one did."""

LATE: dict[str, Callable[[Delivery], Settlement]] = {
    "ack": lambda delivery: ack(delivery, '"late"'),
    "nack": nack,
    "nack with delay": lambda delivery: nack(delivery, delay=1.0),
    "reject": reject,
    "release": release,
}

SETTLED: dict[str, Counts] = {
    "ack": Counts(),
    "nack": Counts(ready=1),
    "nack with delay": Counts(delayed=1),
    "reject": Counts(dead=1),
    "release": Counts(ready=1),
}
"""What each settlement makes of the only job of a queue."""


def snapshot(harness: Harness, queue: str, job_id: str) -> object:
    """Return all that can be seen of a queue with one job."""
    store = harness.store
    identity = harness.capabilities.job_identity
    record = store.record(job_id) if identity else None
    if queue not in store.queues():
        return record
    return record, harness.counts(queue), store.dead_letters(queue, limit=10, after=None)


def begin(harness: Harness, kept: bool) -> Case:
    """Publish and receive one job."""
    queue = harness.queue(options=QueueOptions(max_deliveries=5))
    holder = harness.holder()
    harness.publish(queue, keep=harness.span(1000) if kept else None)
    return Case(harness, queue, holder, harness.take_one(holder, queue))


every_ending = pytest.mark.parametrize("ending", ENDINGS)
every_late = pytest.mark.parametrize("late", LATE)
kept_or_not = pytest.mark.parametrize("kept", [False, True], ids=["forgotten", "kept"])


class Rule04Fencing:
    """Settling compares entry and delivery number: a late settle is refused, nothing changes."""

    @kept_or_not
    @every_late
    @every_ending
    def test_a_late_settle_is_refused_and_changes_nothing(
        self, harness: Harness, ending: str, late: str, kept: bool
    ) -> None:
        case = begin(harness, kept)
        current = ENDINGS[ending](case)
        before = snapshot(harness, case.queue, case.delivery.id)
        settlement = LATE[late](case.delivery)

        assert harness.holder().settle([settlement]) == [settlement]

        assert snapshot(harness, case.queue, case.delivery.id) == before
        if current is not None:
            assert current.delivery > case.delivery.delivery or current.entry != case.delivery.entry
            assert harness.holder().settle([ack(current)]) == []

    @kept_or_not
    @every_late
    @every_ending
    def test_a_late_settle_on_the_way_to_a_receive_is_refused(
        self, harness: Harness, ending: str, late: str, kept: bool
    ) -> None:
        case = begin(harness, kept)
        ENDINGS[ending](case)
        before = snapshot(harness, case.queue, case.delivery.id)
        settlement = LATE[late](case.delivery)

        brought = harness.holder().receive(
            [harness.queue()], limit=5, wait=0, settlements=[settlement]
        )

        assert brought == ([], [settlement])
        assert snapshot(harness, case.queue, case.delivery.id) == before

    @kept_or_not
    @every_ending
    def test_late_progress_is_recorded_nowhere(
        self, harness: Harness, ending: str, kept: bool
    ) -> None:
        case = begin(harness, kept)
        ENDINGS[ending](case)
        before = snapshot(harness, case.queue, case.delivery.id)

        harness.holder().progress(case.delivery, 1.0, 2.0)

        assert snapshot(harness, case.queue, case.delivery.id) == before

    @kept_or_not
    @pytest.mark.parametrize("verdict", SETTLED)
    def test_a_purge_leaves_a_leased_job_to_its_holder(
        self, harness: Harness, verdict: str, kept: bool
    ) -> None:
        case = begin(harness, kept)

        assert harness.store.purge(case.queue) == 0
        case.harness.holder().progress(case.delivery, 1.0, 2.0)
        case.settle(LATE[verdict](case.delivery))

        assert harness.counts(case.queue) == SETTLED[verdict]

    @kept_or_not
    @pytest.mark.parametrize("verdict", SETTLED)
    def test_each_settlement_makes_of_the_job_what_it_says(
        self, harness: Harness, verdict: str, kept: bool
    ) -> None:
        case = begin(harness, kept)

        case.settle(LATE[verdict](case.delivery))

        assert harness.counts(case.queue) == SETTLED[verdict]
        if harness.capabilities.job_identity and kept:
            states = {
                "ack": JobState.COMPLETED,
                "nack": JobState.READY,
                "nack with delay": JobState.DELAYED,
                "reject": JobState.DEAD,
                "release": JobState.READY,
            }
            assert harness.record(case.delivery.id).state == states[verdict]

    @kept_or_not
    def test_a_settle_given_twice_in_one_call_counts_once(
        self, harness: Harness, kept: bool
    ) -> None:
        case = begin(harness, kept)
        settlement = ack(case.delivery)

        assert case.holder.settle([settlement, settlement]) == [settlement]

        assert harness.counts(case.queue) == Counts()

    @pytest.mark.parametrize("stale", [0, 1, 3])
    def test_of_a_mixed_batch_only_the_stale_ones_are_refused(
        self, harness: Harness, stale: int
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue, 2)
        harness.publish(queue, 2, keep=harness.span(1000))
        deliveries = harness.take(holder, queue, 4)
        holder.settle([release(deliveries[stale])])

        refused = holder.settle([ack(each) for each in deliveries])

        assert refused == [ack(deliveries[stale])]
        assert harness.counts(queue) == Counts(ready=1)
        assert ids(harness.take_all(holder, queue)) == [deliveries[stale].id]

    def test_a_batch_of_every_verdict_settles_each_its_own_way(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue, 5)
        deliveries = harness.take(holder, queue, 5)
        makers = LATE.values()

        batch = [make(each) for make, each in zip(makers, deliveries, strict=True)]

        assert holder.settle(batch) == []
        assert harness.counts(queue) == Counts(ready=2, delayed=1, dead=1)

    def test_the_delivery_number_rises_at_each_receive_and_is_never_reset(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        harness.publish(queue)
        found: list[Delivery] = []

        def take() -> tuple[Holder, Delivery]:
            holder = harness.holder()
            found.append(harness.take_one(holder, queue))
            return holder, found[-1]

        for settlement in (release, nack, reject):
            holder, delivery = take()
            holder.settle([settlement(delivery)])
        harness.store.requeue_dead(queue, None)
        holder, _ = take()
        harness.crash(holder)
        take()

        numbers = [each.delivery for each in found]
        assert len({each.entry for each in found}) == 1
        assert numbers == sorted(set(numbers)), "each is above the one before"

    def test_a_job_cut_from_a_batch_is_no_delivery_of_anybody(self, harness: Harness) -> None:
        """A lost job comes alone; those behind it were not handed out and can be, by others."""
        queue = harness.queue()
        dying, one, other = harness.holder(), harness.holder(), harness.holder()
        harness.publish(queue)
        harness.take_one(dying, queue)
        harness.crash(dying)
        behind = harness.publish(queue, 2)

        first = harness.take(one, queue, 10)
        rest = harness.take(other, queue, 10)

        assert sorted([*ids(first), *ids(rest)]) == sorted([first[0].id, rest[0].id, rest[-1].id])
        assert {each.id for each in [*first, *rest]} >= set(behind)
        assert one.settle([ack(each) for each in first]) == []
        assert other.settle([ack(each) for each in rest]) == []

    def test_an_entry_is_never_used_twice(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        seen: list[Delivery] = []
        enders: list[Callable[[Delivery], object]] = [
            lambda each: holder.settle([ack(each)]),
            lambda each: (holder.settle([release(each)]), harness.store.purge(queue)),
            lambda each: (
                holder.settle([reject(each)]),
                harness.store.discard_dead(queue, [each.id]),
            ),
        ]
        if harness.capabilities.job_identity:
            enders.append(
                lambda each: (holder.settle([release(each)]), harness.store.cancel(each.id))
            )
        for end in enders:
            harness.publish(queue)
            seen.append(harness.take_one(holder, queue))
            end(seen[-1])
            assert harness.counts(queue) == Counts()
        harness.publish(queue)
        harness.store.delete_queue(queue)
        queue = harness.queue()
        harness.publish(queue)
        seen.append(harness.take_one(holder, queue))

        assert len({each.entry for each in seen}) == len(seen)
        for each in seen[:-1]:
            assert holder.settle([ack(each)]) == [ack(each)]
        assert harness.counts(queue) == Counts(leased=1)
