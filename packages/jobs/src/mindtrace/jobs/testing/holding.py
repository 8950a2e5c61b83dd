"""Rules 2, 3 and 5: nothing is lost, a lease lives as long as its holder, a crash is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mindtrace.jobs.backend import QueueOptions
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
from mindtrace.jobs.testing.waiting import Background, eventually, pause

if TYPE_CHECKING:
    from mindtrace.jobs.backend import Delivery, Holder


def poison(harness: Harness, queue: str, deliveries: int) -> list[Delivery]:
    """Lose so many deliveries of the first job of a queue."""
    found: list[Delivery] = []
    for _ in range(deliveries):
        holder = harness.holder()
        found.append(harness.take_one(holder, queue))
        harness.crash(holder)
    return found


class Rule02AtLeastOnce:
    """A job leaves its queue only by being settled, cancelled, purged or expired."""

    def test_a_received_job_stays_until_it_is_settled(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue)

        delivery = harness.take_one(holder, queue)
        assert harness.counts(queue) == Counts(leased=1)
        holder.settle([ack(delivery)])

        assert harness.counts(queue) == Counts()

    def test_a_job_is_handed_to_one_holder_only(self, harness: Harness) -> None:
        queue = harness.queue()
        one, other = harness.holder(), harness.holder(harness.open())
        wanted = harness.publish(queue, 6)

        found = [harness.take_one(holder, queue).id for holder in (one, other) * 3]

        assert sorted(found) == sorted(wanted)
        assert harness.take(one, queue) == harness.take(other, queue) == []

    def test_many_holders_at_once_run_each_job_once(self, harness: Harness) -> None:
        queue = harness.queue()
        wanted = harness.store.publish(queue, [entry() for _ in range(200)])
        clients = [harness.client, harness.open(), harness.open(), harness.client]

        def work(holder: Holder) -> list[str]:
            found: list[str] = []
            done: list[Delivery] = []
            while True:
                brought = holder.receive(
                    [queue], limit=3, wait=harness.patience, settlements=[ack(d) for d in done]
                )
                assert brought.stale == []
                done = brought.deliveries
                found += ids(done)
                if not done:
                    return found

        def start(holder: Holder) -> Background[list[str]]:
            return Background(lambda: work(holder))

        working = [start(harness.holder(client)) for client in clients]
        found = [each for one in working for each in one.result(within=60)]

        assert sorted(found) == sorted(wanted)
        assert harness.counts(queue) == Counts()

    @pytest.mark.parametrize("unsettled", [1, 2, 5])
    def test_what_a_crash_interrupts_runs_again(self, harness: Harness, unsettled: int) -> None:
        queue = harness.queue()
        holder = harness.holder()
        wanted = harness.publish(queue, 5)
        deliveries = harness.take(holder, queue, 5)
        assert ids(deliveries) == wanted
        holder.settle([ack(each) for each in deliveries[unsettled:]])

        harness.crash(holder)

        assert harness.counts(queue) == Counts(ready=unsettled)
        assert sorted(ids(harness.take_all(harness.holder(), queue))) == sorted(wanted[:unsettled])

    def test_settlements_travel_with_the_next_receive(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue, 2)
        first = harness.take_one(holder, queue)

        brought = holder.receive([queue], limit=1, wait=harness.patience, settlements=[ack(first)])

        assert brought.stale == []
        assert [each.id for each in brought.deliveries] != [first.id]
        assert harness.counts(queue) == Counts(leased=1)

    def test_settlements_are_safe_before_a_receive_blocks(self, harness: Harness) -> None:
        client = harness.open_real()
        store = client.store
        queue = harness.queue(client=client)
        holder = store.holder()
        store.publish(queue, [entry()])
        (delivery,) = holder.receive([queue], limit=1, wait=5).deliveries

        blocked = Background(
            lambda: holder.receive([queue], limit=1, wait=None, settlements=[ack(delivery)])
        )
        eventually(lambda: store.stats(queue).leased == 0, what="settling")

        assert not blocked.done.is_set()
        holder.wake()
        assert blocked.result() == ([], [])
        holder.close()


class Rule03TheLeaseBelongsToTheHolder:
    """While a holder lives its leases hold; when it dies its jobs are ready again."""

    def test_a_lease_holds_as_long_as_its_holder_lives(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(lease=harness.span(15)))
        holder = harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(holder, queue)

        for _ in range(6):
            harness.advance(10)
            assert harness.take(harness.holder(), queue) == []

        assert holder.settle([ack(delivery)]) == []

    def test_the_jobs_of_a_dead_holder_are_ready_again(self, harness: Harness) -> None:
        queue = harness.queue()
        dying = harness.holder()
        (job_id,) = harness.publish(queue)
        first = harness.take_one(dying, queue)

        harness.crash(dying)

        assert harness.counts(queue) == Counts(ready=1)
        again = harness.take_one(harness.holder(), queue)
        assert (again.id, again.entry) == (job_id, first.entry)

    def test_the_death_of_one_holder_leaves_the_others_alone(self, harness: Harness) -> None:
        queue = harness.queue()
        dying, living = harness.holder(), harness.holder()
        harness.publish(queue, 2)
        harness.take_one(dying, queue)
        kept = harness.take_one(living, queue)

        harness.crash(dying)

        assert harness.counts(queue) == Counts(ready=1, leased=1)
        assert living.settle([ack(kept)]) == []

    def test_the_place_of_a_dead_holder_gives_its_jobs_to_nobody(self, harness: Harness) -> None:
        """A new holder may get what the dead one had (its slot, its name), but not its leases."""
        queue = harness.queue()
        dying = harness.holder()
        harness.publish(queue)
        harness.take_one(dying, queue)
        harness.kill(dying)

        newcomer = harness.holder()
        harness.advance(harness.notice)

        again = harness.take_one(newcomer, queue)
        assert again.lost == 1

    def test_counting_and_purging_agree_about_the_jobs_of_a_dead_holder(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        dying = harness.holder()
        harness.publish(queue, 3)
        harness.take(dying, queue, 2)
        harness.kill(dying)
        harness.advance(harness.notice)

        ready = harness.counts(queue).ready

        assert harness.store.purge(queue) == ready
        assert harness.counts(queue) == Counts(leased=3 - ready)

    def test_a_closed_holder_gives_back_what_it_holds_counted_as_lost(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        leaving = harness.holder()
        harness.publish(queue)
        harness.take_one(leaving, queue)

        leaving.close()

        assert harness.counts(queue) == Counts(ready=1)
        assert harness.take_one(harness.holder(), queue).lost == 1

    def test_a_blocked_consumer_gets_the_jobs_of_a_dead_one_in_time(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        dying, waiting = client.store.holder(), harness.holder(client)
        client.store.publish(queue, [entry("again")])
        assert ids(dying.receive([queue], limit=1, wait=5).deliveries) == ["again"]
        blocked = Background(lambda: waiting.receive([queue], limit=1, wait=60))

        harness.kill(dying)

        within = 2.0 if harness.notice <= 2 else harness.notice * harness.beat + 1
        brought = blocked.result(within=within + 1)
        assert ids(brought.deliveries) == ["again"]

    def test_jobs_of_a_dead_holder_come_back_while_somebody_waits_for_their_outcome(
        self, harness: Harness
    ) -> None:
        client = harness.open_real()
        if not harness.capabilities.job_identity:
            return
        queue = harness.queue(client=client)
        dying = client.store.holder()
        client.store.publish(queue, [entry("again", keep=60.0)])
        dying.receive([queue], limit=1, wait=5)
        harness.kill(dying)
        asking = Background(lambda: client.store.wait_finished("again", 60))
        pause(0.2)

        living = harness.holder(client)
        brought = living.receive([queue], limit=1, wait=5)

        assert ids(brought.deliveries) == ["again"]
        living.settle([ack(brought.deliveries[0], "1")])
        found = asking.result()
        assert found is not None
        assert found.result == "1"


class Rule05ACrashIsCounted:
    """`lost` counts deliveries without a settle, `attempts` handler failures; release neither."""

    def test_a_crash_counts_as_lost_and_as_no_attempt(self, harness: Harness) -> None:
        queue = harness.queue()
        harness.publish(queue)

        poison(harness, queue, 2)
        delivery = harness.take_one(harness.holder(), queue)

        assert (delivery.lost, delivery.attempts) == (2, 0)

    def test_a_failure_counts_as_an_attempt_and_not_as_lost(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(max_deliveries=1))
        holder = harness.holder()
        harness.publish(queue)

        for failures in range(4):
            delivery = harness.take_one(holder, queue)
            assert (delivery.lost, delivery.attempts) == (0, failures)
            holder.settle([nack(delivery)])

        assert harness.counts(queue) == Counts(ready=1)

    def test_a_release_counts_nothing(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(max_deliveries=1))
        holder = harness.holder()
        harness.publish(queue)

        for _ in range(4):
            delivery = harness.take_one(holder, queue)
            assert (delivery.lost, delivery.attempts) == (0, 0)
            holder.settle([release(delivery)])

        assert harness.counts(queue) == Counts(ready=1)

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_a_job_that_is_lost_too_often_is_dead_as_poison(
        self, harness: Harness, limit: int
    ) -> None:
        queue = harness.queue(options=QueueOptions(max_deliveries=limit))
        (job_id,) = harness.publish(queue)

        poison(harness, queue, limit - 1)
        assert harness.counts(queue) == Counts(ready=1)
        poison(harness, queue, 1)

        assert harness.take(harness.holder(), queue) == []
        assert harness.counts(queue) == Counts(dead=1)
        (dead,) = harness.store.dead_letters(queue, limit=10, after=None)
        assert (dead.delivery.id, dead.delivery.lost) == (job_id, limit)
        assert dead.failure.reason == "poison"

    def test_five_lost_deliveries_are_the_limit_unless_said_otherwise(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        harness.publish(queue)

        poison(harness, queue, 4)
        assert harness.counts(queue).dead == 0
        poison(harness, queue, 1)

        harness.take(harness.holder(), queue)
        assert harness.counts(queue) == Counts(dead=1)

    def test_closing_a_holder_makes_poison_as_a_crash_does(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(max_deliveries=1))
        holder = harness.holder()
        harness.publish(queue)
        harness.take_one(holder, queue)

        holder.close()

        assert harness.counts(queue) == Counts(dead=1)

    def test_counts_survive_a_retry_and_a_release(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue)
        poison(harness, queue, 1)

        holder.settle([nack(harness.take_one(holder, queue))])
        holder.settle([release(harness.take_one(holder, queue))])
        delivery = harness.take_one(holder, queue)

        assert (delivery.lost, delivery.attempts) == (1, 1)

    def test_a_job_that_was_lost_is_received_alone(self, harness: Harness) -> None:
        queue = harness.queue()
        dying, holder = harness.holder(), harness.holder()
        suspects = harness.publish(queue, 2)
        harness.take(dying, queue, 2)
        harness.crash(dying)
        innocent = harness.publish(queue, 3)

        batches = [ids(harness.take(holder, queue, 10)) for _ in range(3)]

        assert sorted(batches) == sorted([[suspects[0]], [suspects[1]], innocent])

    def test_a_batch_ends_before_a_job_that_was_lost(self, harness: Harness) -> None:
        queue = harness.queue()
        first, dying, holder = harness.holder(), harness.holder(), harness.holder()
        wanted = harness.publish(queue, 2)
        ahead = harness.take_one(first, queue)
        harness.take_one(dying, queue)
        harness.crash(dying)
        first.settle([release(ahead)])
        behind = harness.publish(queue, 2)

        batches = [ids(harness.take(holder, queue, 10)) for _ in range(3)]

        if harness.capabilities.released_jobs_keep_their_place:
            assert batches == [[wanted[0]], [wanted[1]], behind]
        assert [wanted[1]] in batches

    def test_a_dead_letter_tells_both_counts(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue)
        poison(harness, queue, 1)
        holder.settle([nack(harness.take_one(holder, queue))])

        holder.settle([reject(harness.take_one(holder, queue))])

        (dead,) = harness.store.dead_letters(queue, limit=10, after=None)
        assert (dead.delivery.attempts, dead.delivery.lost) == (2, 1)
