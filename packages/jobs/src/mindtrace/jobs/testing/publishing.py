"""Rules 1, 12 and 13: what publishing promises, delays, identity and dedup keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mindtrace.jobs.backend import Entry, QueueSpec
from mindtrace.jobs.errors import (
    DuplicateJobError,
    QueueNotFoundError,
    UnsupportedByBackendError,
)
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.harness import Counts, Harness, ack, entry, ids, nack, reject

if TYPE_CHECKING:
    from collections.abc import Callable


def lacks_identity(harness: Harness, *calls: Callable[[], object]) -> bool:
    """Tell whether the store knows no identity; each call must then say so."""
    if harness.capabilities.job_identity:
        return False
    for call in calls:
        with pytest.raises(UnsupportedByBackendError):
            call()
    return True


class Rule01PublishReturnsTheIdOnceTheJobIsSafe:
    """Publish returns the job's own id, once the job is safe."""

    def test_publish_returns_the_ids_in_the_order_given(self, harness: Harness) -> None:
        queue = harness.queue()
        wanted = [new_job_id() for _ in range(5)]

        assert harness.store.publish(queue, [entry(each) for each in wanted]) == wanted

    def test_a_published_job_is_there_for_another_client(self, harness: Harness) -> None:
        queue = harness.queue()
        (job_id,) = harness.publish(queue)
        other = harness.open()

        assert other.store.stats(queue).ready == 1
        assert harness.take_one(harness.holder(other), queue).id == job_id

    def test_a_delivery_carries_what_was_published(self, harness: Harness) -> None:
        queue = harness.queue()
        body = '{"payload": {"text": "naïve ☃ \\u0000"}}'

        harness.store.publish(queue, [Entry("the id", body, priority=3, keep=harness.span(60))])
        delivery = harness.take_one(harness.holder(), queue)

        assert (delivery.id, delivery.body, delivery.queue) == ("the id", body, queue)
        assert (delivery.priority, delivery.keep) == (3, harness.span(60))
        assert (delivery.attempts, delivery.lost) == (0, 0)
        assert delivery.delivery >= 1

    def test_publishing_nothing_adds_nothing(self, harness: Harness) -> None:
        queue = harness.queue()

        assert harness.store.publish(queue, []) == []
        assert harness.counts(queue) == Counts()

    def test_an_unknown_queue_is_an_error_that_names_it_and_the_known_ones(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()

        with pytest.raises(QueueNotFoundError) as caught:
            harness.store.publish("nowhere", [entry()])

        assert caught.value.name == "nowhere"
        assert queue in caught.value.known

    def test_a_queue_deleted_by_another_client_takes_nothing(self, harness: Harness) -> None:
        queue = harness.queue()
        harness.publish(queue)

        harness.open().store.delete_queue(queue)

        with pytest.raises(QueueNotFoundError):
            harness.publish(queue)
        with pytest.raises(QueueNotFoundError):
            harness.store.publish(queue, [entry(), entry()])

    def test_a_batch_with_one_impossible_job_adds_none(self, harness: Harness) -> None:
        queue, other = harness.queue(), harness.queue()
        (taken,) = harness.publish(other)
        if not harness.capabilities.job_identity:
            return  # nothing makes a job impossible where ids are not known

        for extra in ({}, {"dedup_key": "key"}):
            with pytest.raises(DuplicateJobError):
                harness.store.publish(queue, [entry(), entry(taken, **extra), entry(**extra)])

        assert harness.counts(queue) == Counts()


class Rule12Delay:
    """A delayed job is not handed out before its time, and the store keeps it until then."""

    def test_a_delayed_job_waits_and_then_comes(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(queue, delay=harness.span(10))

        assert harness.counts(queue) == Counts(delayed=1)
        assert harness.take(holder, queue) == []
        harness.advance(8)
        assert harness.take(holder, queue) == []
        harness.advance(4)

        assert harness.take_one(holder, queue).id == job_id

    def test_a_due_job_counts_as_ready_before_anybody_looked(self, harness: Harness) -> None:
        queue = harness.queue()
        harness.publish(queue, delay=harness.span(10))

        harness.advance(12)

        assert harness.counts(queue) == Counts(ready=1)

    def test_a_delay_does_not_hold_up_other_jobs(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (late,) = harness.publish(queue, delay=harness.span(30))
        (soon,) = harness.publish(queue, delay=harness.span(10))
        (now,) = harness.publish(queue)

        assert ids(harness.take_all(holder, queue)) == [now]
        harness.advance(12)
        assert ids(harness.take_all(holder, queue)) == [soon]
        harness.advance(20)
        assert ids(harness.take_all(holder, queue)) == [late]

    def test_a_delay_outlives_the_client_that_published(self, harness: Harness) -> None:
        queue = harness.queue()
        publisher = harness.open()
        publisher.store.publish(queue, [entry("later", delay=harness.span(10))])
        if publisher is not harness.client:
            publisher.close()

        harness.advance(12)

        assert harness.take_one(harness.holder(), queue).id == "later"

    def test_a_job_nacked_with_a_delay_waits_as_long(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(queue)

        holder.settle([nack(harness.take_one(holder, queue), delay=harness.span(10))])

        assert harness.counts(queue) == Counts(delayed=1)
        assert harness.take(holder, queue) == []
        harness.advance(12)
        again = harness.take_one(holder, queue)
        assert (again.id, again.attempts) == (job_id, 1)

    def test_a_job_waits_longer_than_its_time_to_live_only_in_a_holders_hand(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        held = harness.publish(queue, ttl=harness.span(10))
        harness.take_one(holder, queue)
        harness.publish(queue, ttl=harness.span(10))
        harness.publish(queue, ttl=harness.span(10), delay=harness.span(20))
        kept = harness.publish(queue, ttl=harness.span(30))

        harness.advance(12)

        assert harness.counts(queue) == Counts(ready=1, leased=len(held))
        assert ids(harness.take_all(holder, queue)) == kept
        harness.advance(12)
        assert harness.counts(queue) == Counts(leased=2)

    def test_the_record_of_an_expired_job_says_so(self, harness: Harness) -> None:
        queue = harness.queue()
        (job_id,) = harness.publish(queue, ttl=harness.span(10))
        if lacks_identity(harness, lambda: harness.store.record(job_id)):
            return
        (kept,) = harness.publish(queue, ttl=harness.span(10), keep=harness.span(1000))

        harness.advance(12)

        for _ in range(2):
            assert harness.store.record(job_id) is None
            found = harness.record(kept)
            assert (found.state, found.reason) == (JobState.CANCELLED, "expired")
            harness.take_all(harness.holder(), queue)


class Rule13IdentityAndDedup:
    """An id is unique while its entry or kept result exists; a dedup key finds the first job."""

    def test_the_same_id_again_adds_nothing_while_the_job_is_unfinished(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        if not harness.capabilities.job_identity:
            return

        def again() -> list[str]:
            return harness.store.publish(queue, [entry("twice")])

        assert again() == ["twice"]
        assert again() == ["twice"]
        assert harness.counts(queue) == Counts(ready=1)
        delivery = harness.take_one(holder, queue)
        assert again() == ["twice"]
        assert harness.counts(queue) == Counts(leased=1)
        holder.settle([nack(delivery, delay=harness.span(10))])
        assert again() == ["twice"]
        assert harness.counts(queue) == Counts(delayed=1)

    def test_the_same_id_twice_in_a_batch_adds_one_job(self, harness: Harness) -> None:
        queue = harness.queue()
        if not harness.capabilities.job_identity:
            return

        found = harness.store.publish(queue, [entry("twice"), entry("once"), entry("twice")])

        assert found == ["twice", "once", "twice"]
        assert ids(harness.take_all(harness.holder(), queue)) == ["twice", "once"]

    def test_an_id_of_another_queue_is_refused(self, harness: Harness) -> None:
        queue, other = harness.queue(), harness.queue()
        if not harness.capabilities.job_identity:
            return
        harness.store.publish(other, [entry("there")])

        with pytest.raises(DuplicateJobError) as caught:
            harness.store.publish(queue, [entry("there")])

        assert (caught.value.job_id, caught.value.queue) == ("there", other)
        assert harness.counts(queue) == Counts()

    def test_the_id_of_a_dead_job_is_refused_until_it_is_discarded(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        if not harness.capabilities.job_identity:
            return
        harness.store.publish(queue, [entry("dead")])
        holder.settle([reject(harness.take_one(holder, queue))])

        with pytest.raises(DuplicateJobError):
            harness.store.publish(queue, [entry("dead")])
        harness.store.discard_dead(queue, ["dead"])

        assert harness.store.publish(queue, [entry("dead")]) == ["dead"]
        assert harness.counts(queue) == Counts(ready=1)

    def test_the_id_of_a_kept_outcome_is_refused_until_it_is_forgotten(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        if not harness.capabilities.job_identity:
            return
        harness.store.publish(queue, [entry("kept", keep=harness.span(10))])
        holder.settle([ack(harness.take_one(holder, queue), "1")])

        with pytest.raises(DuplicateJobError):
            harness.store.publish(queue, [entry("kept")])
        harness.advance(12)

        assert harness.store.publish(queue, [entry("kept")]) == ["kept"]
        assert harness.counts(queue) == Counts(ready=1)

    def test_the_id_of_a_completed_job_without_a_record_is_free(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        for _ in range(2):
            assert harness.store.publish(queue, [entry("again")]) == ["again"]
            holder.settle([ack(harness.take_one(holder, queue))])

        assert harness.counts(queue) == Counts()

    def test_a_dedup_key_returns_the_first_job_while_it_is_unfinished(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()

        def again() -> str:
            return harness.store.publish(queue, [entry(dedup_key="order 7")])[0]

        if lacks_identity(harness, again):
            return
        first = again()
        assert again() == first
        delivery = harness.take_one(holder, queue)
        assert again() == first
        holder.settle([nack(delivery, delay=harness.span(10))])
        assert again() == first
        assert harness.counts(queue) == Counts(delayed=1)
        harness.advance(12)
        holder.settle([ack(harness.take_one(holder, queue))])

        assert again() != first
        assert harness.counts(queue) == Counts(ready=1)

    def test_a_dedup_key_of_a_dead_job_counts_no_more(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        if lacks_identity(harness, lambda: harness.publish(queue, dedup_key="key")):
            return
        (first,) = harness.publish(queue, dedup_key="key")
        holder.settle([reject(harness.take_one(holder, queue))])

        (second,) = harness.publish(queue, dedup_key="key")

        assert second != first
        assert harness.counts(queue) == Counts(ready=1, dead=1)

    def test_a_dedup_key_counts_for_its_time_after_the_job_finished(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()

        def again() -> str:
            lasting = entry(dedup_key="key", dedup_ttl=harness.span(20))
            return harness.store.publish(queue, [lasting])[0]

        if lacks_identity(harness, again):
            return
        first = again()
        harness.advance(8)
        holder.settle([ack(harness.take_one(holder, queue))])
        harness.advance(8)
        assert again() == first, "the time counts from the first publish"
        harness.advance(8)

        assert again() != first

    def test_a_dedup_key_holds_in_its_own_queue_only(self, harness: Harness) -> None:
        queue, other = harness.queue(), harness.queue()
        if lacks_identity(harness, lambda: harness.publish(queue, dedup_key="key")):
            return

        assert harness.publish(queue, dedup_key="key") != harness.publish(other, dedup_key="key")
        assert harness.publish(queue, dedup_key="key") != harness.publish(queue, dedup_key="k")
        assert harness.counts(queue) == Counts(ready=2)
        assert harness.counts(other) == Counts(ready=1)

    def test_a_dedup_key_twice_in_a_batch_adds_one_job(self, harness: Harness) -> None:
        queue = harness.queue()
        batch = [entry(dedup_key="key"), entry(dedup_key="other"), entry(dedup_key="key")]
        if lacks_identity(harness, lambda: harness.store.publish(queue, batch)):
            return

        found = harness.store.publish(queue, batch)

        assert found == [batch[0].id, batch[1].id, batch[0].id]
        assert harness.counts(queue) == Counts(ready=2)

    def test_a_queue_declared_again_knows_nothing_of_its_former_life(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        first = entry("first", dedup_key="key", dedup_ttl=harness.span(1000))
        if lacks_identity(harness, lambda: harness.store.publish(queue, [first])):
            return
        harness.store.publish(queue, [first])

        harness.store.delete_queue(queue)
        harness.store.declare_queue(QueueSpec(queue))

        assert harness.store.publish(queue, [first]) == ["first"]
        assert harness.counts(queue) == Counts(ready=1)
