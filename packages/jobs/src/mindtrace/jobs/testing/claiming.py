"""Rule 3 once more: leasing jobs by their ids, for a store that is the ledger of another one."""

from __future__ import annotations

import pytest

from mindtrace.jobs.backend import QueueOptions
from mindtrace.jobs.errors import QueueNotFoundError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.harness import Counts, Harness, ack, ids, nack, reject, release
from mindtrace.jobs.testing.publishing import lacks_identity


def cannot_claim(harness: Harness, queue: str) -> bool:
    """Tell whether the store has no ids to claim by; it must then say so."""
    holder = harness.holder()
    return lacks_identity(harness, lambda: holder.claim(queue, ["any"], steal=False))


class Rule03Claiming:
    """A claim leases the jobs that are named, whatever else waits, or says which it cannot."""

    def test_jobs_are_leased_by_id_in_the_order_asked_for(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        first, second, third = harness.publish(queue, 3)
        holder = harness.holder()

        found = holder.claim(queue, [third, "unknown", first], steal=False)

        assert [each and each.id for each in found] == [third, None, first]
        assert harness.counts(queue) == Counts(ready=1, leased=2)
        assert ids(harness.take_all(harness.holder(), queue)) == [second]

    def test_a_claimed_job_is_settled_as_any_other(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        holder = harness.holder()
        wanted = harness.publish(queue, 4, priority=3, keep=harness.span(1000))

        done, again, back, dead = (
            each for each in holder.claim(queue, wanted, steal=False) if each
        )
        assert (done.queue, done.priority, done.body) == (queue, 3, "{}")
        assert (done.keep, done.attempts, done.lost) == (harness.span(1000), 0, 0)

        assert holder.settle([ack(done, "1"), nack(again), release(back), reject(dead)]) == []
        assert harness.record(done.id).state == JobState.COMPLETED
        assert harness.counts(queue) == Counts(ready=2, dead=1)
        assert [each.attempts for each in harness.take_all(holder, queue)] == [1, 0]

    def test_claiming_nothing_brings_nothing(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        harness.publish(queue)

        assert harness.holder().claim(queue, [], steal=True) == []
        assert harness.counts(queue) == Counts(ready=1)

    def test_a_delayed_job_is_claimed_once_it_is_due(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        holder = harness.holder()
        (job_id,) = harness.publish(queue, delay=harness.span(10))

        assert holder.claim(queue, [job_id], steal=True) == [None]
        assert harness.counts(queue) == Counts(delayed=1)
        harness.advance(12)
        (found,) = holder.claim(queue, [job_id], steal=False)

        assert found is not None
        assert found.id == job_id
        assert harness.counts(queue) == Counts(leased=1)

    def test_an_expired_job_cannot_be_claimed(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        (job_id,) = harness.publish(queue, ttl=harness.span(10))

        harness.advance(12)

        assert harness.holder().claim(queue, [job_id], steal=True) == [None]
        assert harness.counts(queue) == Counts()

    def test_what_a_living_holder_has_stays_its_own(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        owner = harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(owner, queue)

        assert harness.holder().claim(queue, [delivery.id], steal=False) == [None]
        assert owner.claim(queue, [delivery.id], steal=False) == [None]

        assert harness.counts(queue) == Counts(leased=1)
        assert owner.settle([ack(delivery)]) == []

    def test_stealing_ends_the_other_delivery_and_counts_it_as_lost(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        owner, thief = harness.holder(), harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(owner, queue)

        (stolen,) = thief.claim(queue, [delivery.id], steal=True)

        assert stolen is not None
        assert (stolen.id, stolen.lost, stolen.attempts) == (delivery.id, 1, 0)
        assert stolen.delivery > delivery.delivery
        assert owner.settle([ack(delivery)]) == [ack(delivery)]
        assert harness.counts(queue) == Counts(leased=1)
        harness.crash(owner)
        assert harness.counts(queue) == Counts(leased=1)
        assert thief.settle([ack(stolen)]) == []
        assert harness.counts(queue) == Counts()

    def test_a_holder_can_steal_from_itself(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        holder = harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(holder, queue)

        (again,) = holder.claim(queue, [delivery.id], steal=True)

        assert again is not None
        assert again.lost == 1
        assert holder.settle([ack(delivery)]) == [ack(delivery)]
        assert holder.settle([ack(again)]) == []

    @pytest.mark.parametrize("steal", [False, True])
    def test_what_a_dead_holder_had_is_claimed_and_counted(
        self, harness: Harness, steal: bool
    ) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        dying = harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(dying, queue)

        harness.crash(dying)
        (found,) = harness.holder().claim(queue, [delivery.id], steal=steal)

        assert found is not None
        assert (found.lost, found.delivery > delivery.delivery) == (1, True)
        assert harness.counts(queue) == Counts(leased=1)

    def test_a_job_whose_deliveries_are_used_up_by_a_claim_is_poison(
        self, harness: Harness
    ) -> None:
        queue = harness.queue(options=QueueOptions(max_deliveries=2))
        if cannot_claim(harness, queue):
            return
        (job_id,) = harness.publish(queue)
        holders = [harness.holder() for _ in range(3)]

        claims = [holder.claim(queue, [job_id], steal=True)[0] for holder in holders]

        assert [each and each.lost for each in claims] == [0, 1, None]
        assert harness.counts(queue) == Counts(dead=1)
        (dead,) = harness.store.dead_letters(queue, limit=10, after=None)
        assert (dead.failure.reason, dead.delivery.lost) == ("poison", 2)
        assert holders[1].settle([ack(each) for each in claims[1:2] if each]) != []

    @pytest.mark.parametrize("ending", ["completed", "dead", "cancelled"])
    @pytest.mark.parametrize("keep", [None, 1000.0])
    def test_what_has_finished_cannot_be_claimed(
        self, harness: Harness, ending: str, keep: float | None
    ) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        holder = harness.holder()
        (job_id,) = harness.publish(queue, keep=keep and harness.span(keep))
        if ending == "cancelled":
            assert harness.store.cancel(job_id)
        else:
            delivery = harness.take_one(holder, queue)
            holder.settle([ack(delivery) if ending == "completed" else reject(delivery)])
        before = harness.store.record(job_id)

        assert holder.claim(queue, [job_id], steal=True) == [None]

        assert harness.store.record(job_id) == before
        assert harness.counts(queue) == Counts(dead=int(ending == "dead"))

    def test_a_stolen_job_that_was_to_be_cancelled_ends_cancelled(self, harness: Harness) -> None:
        queue = harness.queue()
        if cannot_claim(harness, queue):
            return
        owner = harness.holder()
        (job_id,) = harness.publish(queue, keep=harness.span(1000))
        harness.take_one(owner, queue)
        assert harness.store.cancel(job_id)

        assert harness.holder().claim(queue, [job_id], steal=True) == [None]

        assert harness.record(job_id).state == JobState.CANCELLED
        assert harness.counts(queue) == Counts()

    def test_a_job_of_another_queue_is_not_claimed(self, harness: Harness) -> None:
        queue, other = harness.queue(), harness.queue()
        if cannot_claim(harness, queue):
            return
        (job_id,) = harness.publish(other)

        assert harness.holder().claim(queue, [job_id], steal=True) == [None]
        assert harness.counts(other) == Counts(ready=1)

    def test_an_unknown_queue_is_an_error(self, harness: Harness) -> None:
        if cannot_claim(harness, harness.queue()):
            return

        with pytest.raises(QueueNotFoundError):
            harness.holder().claim("nowhere", ["any"], steal=False)
