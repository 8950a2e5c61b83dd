"""Rule 23: a job that is moved is the same job at its new place, and there is one of it.

Jobs move here from one queue to another of the same store, taken out before they are brought in,
because an id may be in one queue only. `mindtrace.jobs.migrate` has the other order, between two
stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mindtrace.jobs.backend import Failure, QueueOptions, StoredJob
from mindtrace.jobs.errors import DuplicateJobError, QueueNotFoundError
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.administering import bury
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
from mindtrace.jobs.testing.waiting import Background, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mindtrace.jobs.backend import Outlet, QueueType


def take_everything(outlet: Outlet, limit: int = 2) -> list[StoredJob]:
    """Take, a few at a time, until no more come."""
    found: list[StoredJob] = []
    while taken := outlet.take(limit):
        assert len(taken) <= limit
        found += taken
    return found


def look(harness: Harness, queue: str) -> list[StoredJob]:
    """Return what can be taken out of a queue, and leave it there."""
    outlet = harness.store.outlet(queue)
    try:
        return take_everything(outlet)
    finally:
        outlet.close()


def carry(harness: Harness, source: str, target: str) -> list[StoredJob]:
    """Move all that can be moved, and return it as it was."""
    outlet, inlet = harness.store.outlet(source), harness.store.inlet(target)
    try:
        found = take_everything(outlet)
        assert outlet.remove(found) == []
        inlet.add(found)
    finally:
        outlet.close()
        inlet.close()
    return found


def bring(harness: Harness, queue: str, jobs: Sequence[StoredJob]) -> None:
    """Bring jobs into a queue."""
    inlet = harness.store.inlet(queue)
    try:
        inlet.add(jobs)
    finally:
        inlet.close()


def ids_of(jobs: Sequence[StoredJob], *states: JobState) -> list[str]:
    """Return the ids in the order given, of all or of those in some states."""
    return [job.id for job in jobs if not states or job.state in states]


def stored(harness: Harness, state: JobState = JobState.READY, **facts: object) -> StoredJob:
    """Return a job as another store would have it."""
    now = harness.store.now()
    plain = StoredJob(
        entry="there",
        id=new_job_id(),
        body="{}",
        state=state,
        priority=0,
        published_at=now,
        due_at=now + harness.span(100) if state is JobState.DELAYED else None,
        expires_at=None,
        keep=None,
        delivery=0,
        attempts=0,
        lost=0,
    )
    dead = {"failure": Failure("failed", "my.Error", "no"), "died_at": now}
    return plain._replace(**{**(dead if state is JobState.DEAD else {}), **facts})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# What can happen to a job between being taken and being removed. A store may hold what was taken,
# so that none of this reaches it; each function returns whether it did.


def _received(harness: Harness, queue: str) -> bool:
    return bool(harness.take(harness.holder(), queue))


def _received_and_released(harness: Harness, queue: str) -> bool:
    holder = harness.holder()
    found = harness.take(holder, queue)
    holder.settle([release(each) for each in found])
    return bool(found)


def _failed(harness: Harness, queue: str) -> bool:
    holder = harness.holder()
    found = harness.take(holder, queue)
    holder.settle([nack(each, harness.span(100)) for each in found])
    return bool(found)


def _completed(harness: Harness, queue: str) -> bool:
    holder = harness.holder()
    found = harness.take(holder, queue)
    holder.settle([ack(each) for each in found])
    return bool(found)


def _died(harness: Harness, queue: str) -> bool:
    holder = harness.holder()
    found = harness.take(holder, queue)
    holder.settle([reject(each) for each in found])
    return bool(found)


def _purged(harness: Harness, queue: str) -> bool:
    return bool(harness.store.purge(queue))


ENDINGS: dict[str, Callable[[Harness, str], bool]] = {
    "received": _received,
    "received and released": _received_and_released,
    "failed": _failed,
    "completed": _completed,
    "died": _died,
    "purged": _purged,
}


class Rule23TakingOut:
    """What can be taken out is what waits or lies dead; it stays there until it is removed."""

    def test_each_job_comes_once_in_publish_order_with_the_dead_last(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        dead = bury(harness, queue, 3)
        ready = harness.publish(queue, 3)
        delayed = harness.publish(queue, 3, delay=harness.span(100))

        found = look(harness, queue)

        assert ids_of(found, JobState.READY) == ready
        assert ids_of(found, JobState.DELAYED) == delayed
        assert ids_of(found, JobState.DEAD) == ids_of(found[-3:]) == dead
        assert len(found) == 9

    def test_dead_letters_come_in_the_order_of_their_deaths(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue, 4)
        deliveries = harness.take_all(holder, queue)
        order = [deliveries[place] for place in (2, 0, 3, 1)]
        for each in order:
            holder.settle([reject(each)])
            harness.advance(1)

        assert ids_of(look(harness, queue)) == ids(order)

    def test_an_empty_queue_has_nothing_to_take(self, harness: Harness) -> None:
        assert look(harness, harness.queue()) == []

    def test_what_a_holder_has_is_not_taken(self, harness: Harness) -> None:
        queue = harness.queue()
        held, free = harness.publish(queue, 2)
        holder = harness.holder()
        delivery = harness.take_one(holder, queue)
        assert delivery.id == held

        assert ids_of(look(harness, queue)) == [free]
        assert holder.settle([ack(delivery)]) == []

    def test_what_a_dead_holder_had_is_taken_and_counted_as_lost(self, harness: Harness) -> None:
        queue = harness.queue()
        dying = harness.holder()
        (job_id,) = harness.publish(queue)
        harness.take_one(dying, queue)
        harness.crash(dying)

        (found,) = look(harness, queue)

        assert (found.id, found.state, found.lost) == (job_id, JobState.READY, 1)

    def test_an_expired_job_is_not_taken(self, harness: Harness) -> None:
        queue = harness.queue()
        harness.publish(queue, ttl=harness.span(10))
        lasting = harness.publish(queue, ttl=harness.span(100))

        harness.advance(12)

        assert ids_of(look(harness, queue)) == lasting

    def test_a_dead_letter_whose_time_is_over_is_not_taken(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(dead_letter_ttl=harness.span(10)))
        bury(harness, queue)

        harness.advance(12)

        assert look(harness, queue) == []

    def test_taking_without_removing_changes_nothing(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        dead = bury(harness, queue, 2)
        (failed, *_) = wanted = harness.publish(queue, 4)
        holder.settle([nack(harness.take_one(holder, queue))])
        harness.publish(queue, 2, delay=harness.span(100))
        before = harness.counts(queue), harness.store.dead_letters(queue, limit=9, after=None)

        looks = [sorted(look(harness, queue)) for _ in range(2)]

        assert looks[0] == looks[1]
        if not harness.capabilities.exact_counts:
            return  # "Differs by necessity": taking is receiving there, and giving back
        assert before == (
            harness.counts(queue),
            harness.store.dead_letters(queue, limit=9, after=None),
        )
        deliveries = harness.take_all(holder, queue)
        if harness.capabilities.released_jobs_keep_their_place:
            assert ids(deliveries) == wanted
        assert sorted(ids(deliveries)) == sorted(wanted)
        facts = {each.id: (each.attempts, each.lost, each.delivery) for each in deliveries}
        assert facts.pop(failed) == (1, 0, 2)
        assert set(facts.values()) == {(0, 0, 1)}
        assert [each.delivery.id for each in before[1]] == dead

    def test_removed_jobs_are_gone(self, harness: Harness) -> None:
        queue = harness.queue()
        bury(harness, queue, 2)
        harness.publish(queue, 2)
        harness.publish(queue, 2, delay=harness.span(10))
        outlet = harness.store.outlet(queue)

        assert outlet.remove(take_everything(outlet)) == []
        outlet.close()

        harness.advance(12)
        assert harness.counts(queue) == Counts()
        assert harness.take(harness.holder(), queue) == []
        assert look(harness, queue) == []

    def test_some_are_removed_and_the_others_stay(self, harness: Harness) -> None:
        queue = harness.queue()
        wanted = harness.publish(queue, 4)
        outlet = harness.store.outlet(queue)
        found = outlet.take(4)

        assert outlet.remove(found[1:3]) == []
        outlet.close()

        assert ids(harness.take_all(harness.holder(), queue)) == [wanted[0], wanted[3]]

    @pytest.mark.parametrize("ending", sorted(ENDINGS))
    def test_a_job_that_changed_meanwhile_is_not_removed(
        self, harness: Harness, ending: str
    ) -> None:
        queue = harness.queue()
        harness.publish(queue)
        outlet = harness.store.outlet(queue)
        found = outlet.take(5)
        assert len(found) == 1

        changed = ENDINGS[ending](harness, queue)
        before = harness.counts(queue)

        assert outlet.remove(found) == (found if changed else [])
        outlet.close()
        if changed:
            assert harness.counts(queue) == before
        if harness.capabilities.exact_counts:
            assert changed, "this store has no need to hold what was taken"

    @pytest.mark.parametrize("verb", ["requeue", "discard"])
    def test_a_dead_letter_that_changed_meanwhile_is_not_removed(
        self, harness: Harness, verb: str
    ) -> None:
        queue = harness.queue()
        bury(harness, queue)
        outlet = harness.store.outlet(queue)
        found = outlet.take(5)
        act = harness.store.requeue_dead if verb == "requeue" else harness.store.discard_dead

        changed = act(queue, None)

        assert outlet.remove(found) == (found if changed else [])
        outlet.close()
        assert harness.counts(queue) == Counts(ready=int(bool(changed) and verb == "requeue"))

    def test_a_job_cancelled_meanwhile_is_not_removed(self, harness: Harness) -> None:
        queue = harness.queue()
        if not harness.capabilities.job_identity:
            return
        (job_id,) = harness.publish(queue, keep=harness.span(1000))
        outlet = harness.store.outlet(queue)
        found = outlet.take(5)

        assert harness.store.cancel(job_id)

        assert outlet.remove(found) == found
        outlet.close()
        assert harness.record(job_id).state == JobState.CANCELLED

    def test_an_unknown_queue_is_an_error(self, harness: Harness) -> None:
        with pytest.raises(QueueNotFoundError):
            look(harness, "nowhere")
        with pytest.raises(QueueNotFoundError):
            bring(harness, "nowhere", [stored(harness)])


class Rule23Moving:
    """A moved job has its state, counters, times and failure, and its place among the others."""

    @pytest.mark.parametrize("queue_type", ["fifo", "stack", "priority"])
    def test_moved_jobs_keep_their_order(self, harness: Harness, queue_type: QueueType) -> None:
        if queue_type not in harness.capabilities.queue_types:
            return
        source, target = harness.queue(queue_type), harness.queue(queue_type)
        jobs = [(harness.publish(source, priority=each)[0], each) for each in (1, 3, 2, 3, 1)]
        wanted = {
            "fifo": [job_id for job_id, _ in jobs],
            "stack": [job_id for job_id, _ in reversed(jobs)],
            "priority": [job_id for job_id, _ in sorted(jobs, key=lambda each: -each[1])],
        }

        carry(harness, source, target)

        assert harness.counts(source) == Counts()
        assert harness.counts(target) == Counts(ready=5)
        assert ids(harness.take_all(harness.holder(), target)) == wanted[queue_type]

    def test_a_moved_job_is_what_was_published(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        body = '{"payload": {"text": "naïve ☃ \\u0000"}}'
        facts = entry("moved", body=body, priority=3, keep=harness.span(60))
        harness.store.publish(source, [facts])

        carry(harness, source, target)

        delivery = harness.take_one(harness.holder(), target)
        assert (delivery.id, delivery.body, delivery.queue) == ("moved", body, target)
        assert (delivery.priority, delivery.keep) == (3, harness.span(60))
        assert (delivery.attempts, delivery.lost) == (0, 0)

    def test_counters_go_along_and_delivery_numbers_do_not_fall(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        holder, dying = harness.holder(), harness.holder()
        harness.publish(source)
        holder.settle([nack(harness.take_one(holder, source))])
        holder.settle([nack(harness.take_one(holder, source))])
        last = harness.take_one(dying, source)
        harness.crash(dying)

        carry(harness, source, target)

        delivery = harness.take_one(holder, target)
        assert (delivery.attempts, delivery.lost) == (2, 1)
        if harness.capabilities.delivery_numbers:
            assert delivery.delivery > last.delivery

    def test_a_moved_delayed_job_waits_for_the_rest_of_its_time(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(source, delay=harness.span(30))
        harness.advance(15)

        carry(harness, source, target)

        assert harness.counts(target) == Counts(delayed=1)
        harness.advance(10)
        assert harness.take(holder, target) == []
        harness.advance(8)
        assert harness.take_one(holder, target).id == job_id

    def test_a_delayed_job_that_was_due_meanwhile_is_ready(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        (job_id,) = harness.publish(source, delay=harness.span(10))
        outlet = harness.store.outlet(source)
        found = take_everything(outlet)
        outlet.remove(found)
        outlet.close()

        harness.advance(12)
        bring(harness, target, found)

        assert harness.take_one(harness.holder(), target).id == job_id

    def test_a_moved_job_expires_when_it_would_have(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        harness.publish(source, ttl=harness.span(30))
        harness.advance(15)

        carry(harness, source, target)

        harness.advance(10)
        assert harness.counts(target) == Counts(ready=1)
        harness.advance(8)
        assert harness.take(harness.holder(), target) == []

    def test_the_age_of_a_moved_job_counts_from_its_publish(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        harness.publish(source)
        harness.advance(10)

        carry(harness, source, target)

        if harness.capabilities.exact_counts:
            age = harness.store.stats(target).oldest_ready_age
            assert age == pytest.approx(harness.span(10), abs=harness.span(1))

    def test_the_outcome_of_a_moved_job_is_kept_at_its_new_place(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        if not harness.capabilities.job_identity:
            return
        holder = harness.holder()
        (job_id,) = harness.publish(source, keep=harness.span(1000))

        carry(harness, source, target)

        assert harness.record(job_id).queue == target
        holder.settle([ack(harness.take_one(holder, target), "42")])
        found = harness.record(job_id)
        assert (found.state, found.result) == (JobState.COMPLETED, "42")

    def test_moved_dead_letters_are_as_they_were(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        holder, dying = harness.holder(), harness.holder()
        failure = Failure("rejected", "my.Error", "no such file", "Traceback: line 1\nline 2")
        harness.store.publish(source, [entry("first", body='{"a": "b"}', priority=4)])
        harness.take_one(dying, source)
        harness.crash(dying)
        holder.settle([nack(harness.take_one(holder, source))])
        holder.settle([reject(harness.take_one(holder, source), failure)])
        harness.advance(5)
        (second,) = bury(harness, source)
        before = harness.store.dead_letters(source, limit=9, after=None)

        carry(harness, source, target)

        after = harness.store.dead_letters(target, limit=9, after=None)
        assert [each.delivery.id for each in after] == ["first", second]
        assert [each.failure for each in after] == [each.failure for each in before]
        died_at = [each.died_at for each in before]
        assert [each.died_at for each in after] == pytest.approx(died_at, abs=0.001)
        dead = after[0].delivery
        assert (dead.body, dead.priority, dead.queue) == ('{"a": "b"}', 4, target)
        assert (dead.attempts, dead.lost) == (2, 1)
        assert harness.counts(source) == Counts()

    def test_a_moved_dead_letter_can_be_requeued(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        (job_id,) = bury(harness, source)
        (last,) = harness.store.dead_letters(source, limit=9, after=None)

        carry(harness, source, target)

        assert harness.store.requeue_dead(target, [job_id]) == 1
        delivery = harness.take_one(harness.holder(), target)
        assert (delivery.id, delivery.attempts, delivery.lost) == (job_id, 0, 0)
        if harness.capabilities.delivery_numbers:
            assert delivery.delivery > last.delivery.delivery

    def test_a_moved_dead_letter_lives_as_long_as_those_of_its_new_queue(
        self, harness: Harness
    ) -> None:
        source = harness.queue()
        target = harness.queue(options=QueueOptions(dead_letter_ttl=harness.span(30)))
        bury(harness, source)
        harness.advance(15)

        carry(harness, source, target)

        assert harness.counts(target).dead == 1
        harness.advance(18)
        assert harness.counts(target).dead == 0

    def test_a_message_that_is_no_job_is_moved_as_it_is(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        harness.store.publish(source, [entry(body="not a job")])

        carry(harness, source, target)

        assert harness.take_one(harness.holder(), target).body == "not a job"

    def test_moved_jobs_come_after_those_that_are_there(self, harness: Harness) -> None:
        source, target = harness.queue(), harness.queue()
        moved = harness.publish(source, 2)
        there = harness.publish(target, 2)

        carry(harness, source, target)

        assert ids(harness.take_all(harness.holder(), target)) == [*there, *moved]


class Rule23BringingIn:
    """Bringing in can be repeated and taken back, so that a move may be interrupted anywhere."""

    def test_a_job_that_is_in_the_queue_is_not_added_again(self, harness: Harness) -> None:
        queue = harness.queue()
        states = (JobState.READY, JobState.DELAYED, JobState.DEAD)
        jobs = [stored(harness, state) for state in states for _ in range(2)]

        for _ in range(3):
            bring(harness, queue, jobs)
        inlet = harness.store.inlet(queue)
        inlet.add(jobs)
        inlet.add(jobs[:3])
        inlet.close()

        assert harness.counts(queue) == Counts(ready=2, delayed=2, dead=2)

    def test_the_rest_of_an_interrupted_batch_is_added(self, harness: Harness) -> None:
        queue = harness.queue()
        jobs = [stored(harness) for _ in range(4)]
        bring(harness, queue, jobs[:2])

        bring(harness, queue, jobs)

        assert ids(harness.take_all(harness.holder(), queue)) == ids_of(jobs)

    def test_a_job_that_is_held_or_has_died_here_is_not_added_again(self, harness: Harness) -> None:
        queue = harness.queue()
        if not harness.capabilities.job_identity:
            return
        holder = harness.holder()
        held, dead = jobs = [stored(harness), stored(harness)]
        bring(harness, queue, jobs)
        first, second = harness.take_all(holder, queue)
        holder.settle([reject(second)])

        bring(harness, queue, jobs)

        assert (first.id, second.id) == (held.id, dead.id)
        assert harness.counts(queue) == Counts(leased=1, dead=1)
        assert holder.settle([ack(first)]) == []

    @pytest.mark.parametrize("where", ["another queue", "a kept outcome"])
    def test_a_batch_with_an_id_that_is_taken_adds_nothing(
        self, harness: Harness, where: str
    ) -> None:
        queue = harness.queue()
        other = harness.queue() if where == "another queue" else queue
        if not harness.capabilities.job_identity:
            return
        holder = harness.holder()
        harness.store.publish(other, [entry("taken", keep=harness.span(1000))])
        if where == "a kept outcome":
            holder.settle([ack(harness.take_one(holder, queue), "1")])

        with pytest.raises(DuplicateJobError) as caught:
            bring(harness, queue, [stored(harness), stored(harness, id="taken"), stored(harness)])

        assert (caught.value.job_id, caught.value.queue) == ("taken", other)
        assert harness.counts(queue) == Counts()

    def test_an_id_whose_record_is_over_is_free(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.store.publish(queue, [entry("again", keep=harness.span(10))])
        holder.settle([ack(harness.take_one(holder, queue), "1")])
        harness.advance(12)

        bring(harness, queue, [stored(harness, id="again")])

        assert harness.take_one(holder, queue).id == "again"

    @pytest.mark.parametrize("fresh", [False, True])
    def test_what_was_added_can_be_taken_back(self, harness: Harness, fresh: bool) -> None:
        queue = harness.queue()
        there = harness.publish(queue)
        states = (JobState.READY, JobState.DELAYED, JobState.DEAD)
        jobs = [stored(harness, state) for state in states]
        inlet = harness.store.inlet(queue)
        inlet.add(jobs)
        if fresh:  # after an interruption another inlet is given the same jobs
            inlet.close()
            inlet = harness.store.inlet(queue)
            inlet.add(jobs)

        assert inlet.remove(jobs) == []
        inlet.close()

        assert harness.counts(queue) == Counts(ready=1)
        assert ids(harness.take_all(harness.holder(), queue)) == there

    def test_what_was_received_or_requeued_meanwhile_is_not_taken_back(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        ready, dead = jobs = [stored(harness), stored(harness, JobState.DEAD)]
        inlet = harness.store.inlet(queue)
        inlet.add(jobs)
        holder = harness.holder()

        delivery = harness.take_one(holder, queue)
        assert delivery.id == ready.id
        assert harness.store.requeue_dead(queue, [dead.id]) == 1

        assert inlet.remove(jobs) == jobs
        inlet.close()
        assert harness.counts(queue) == Counts(ready=1, leased=1)
        assert holder.settle([ack(delivery)]) == []

    def test_adding_wakes_who_waits(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        holder = client.store.holder()
        waiting = Background(lambda: holder.receive([queue], limit=1, wait=20))
        pause(0.2)

        inlet = client.store.inlet(queue)
        inlet.add([stored(harness, published_at=client.store.now())])
        inlet.close()

        assert len(waiting.result().deliveries) == 1
        holder.close()
