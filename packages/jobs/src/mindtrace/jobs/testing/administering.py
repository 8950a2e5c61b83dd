"""Rules 8, 15, 17, 18, 19, 21 in the store: dead letters, counts, and what an operator does."""

from __future__ import annotations

import time

import pytest

from mindtrace.jobs.backend import Failure, QueueOptions, QueueSpec
from mindtrace.jobs.errors import BackendUnavailableError, QueueNotFoundError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.harness import Counts, Harness, ack, entry, ids, nack, reject, release
from mindtrace.jobs.testing.publishing import lacks_identity
from mindtrace.jobs.testing.settling import LATE
from mindtrace.jobs.testing.waiting import Background, pause


def bury(harness: Harness, queue: str, count: int = 1) -> list[str]:
    """Publish so many jobs and let each end in the dead letters; return the ids in that order."""
    holder = harness.holder()
    found = harness.publish(queue, count)
    for _ in found:
        holder.settle([reject(harness.take_one(holder, queue))])
    return found


class Rule08DeadLetters:
    """One durable list for each queue, kept until requeued or discarded."""

    def test_a_dead_letter_has_the_whole_job_and_why_it_died(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        failure = Failure("rejected", "my.Error", "no such file", "Traceback: line 1\nline 2")
        harness.store.publish(queue, [entry("dead", body='{"a": "b"}', priority=4)])
        holder.settle([nack(harness.take_one(holder, queue))])

        holder.settle([reject(harness.take_one(holder, queue), failure)])

        (dead,) = harness.open().store.dead_letters(queue, limit=10, after=None)
        last = dead.delivery
        assert (last.id, last.queue, last.body, last.priority) == ("dead", queue, '{"a": "b"}', 4)
        assert (dead.failure, last.attempts, last.lost) == (failure, 2, 0)
        assert dead.died_at > 0

    def test_dead_letters_are_listed_by_death_in_pages(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue, 5)
        deliveries = harness.take_all(holder, queue)
        order = [deliveries[place] for place in (3, 0, 4, 1, 2)]
        for each in order:
            holder.settle([reject(each)])
            harness.advance(1)

        pages: list[list[str]] = []
        after: str | None = None
        while page := harness.store.dead_letters(queue, limit=2, after=after):
            pages.append([each.delivery.id for each in page])
            after = page[-1].delivery.id

        wanted = ids(order)
        assert pages == [wanted[:2], wanted[2:4], wanted[4:]]

    def test_a_requeued_job_begins_again_at_its_place(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = bury(harness, queue)
        younger = harness.publish(queue)

        assert harness.store.requeue_dead(queue, [job_id]) == 1

        assert harness.counts(queue) == Counts(ready=2)
        deliveries = harness.take_all(holder, queue)
        assert sorted(ids(deliveries)) == sorted([job_id, *younger])
        if harness.capabilities.released_jobs_keep_their_place:
            assert ids(deliveries) == [job_id, *younger]
        assert [(each.attempts, each.lost) for each in deliveries] == [(0, 0), (0, 0)]

    def test_a_requeued_poison_job_has_all_its_deliveries_again(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(max_deliveries=2))
        harness.publish(queue)
        for _ in range(2):
            dying = harness.holder()
            harness.take_one(dying, queue)
            harness.crash(dying)
        assert harness.take(harness.holder(), queue) == []

        assert harness.store.requeue_dead(queue, None) == 1
        dying = harness.holder()
        assert harness.take_one(dying, queue).lost == 0
        harness.crash(dying)

        assert harness.take_one(harness.holder(), queue).lost == 1

    @pytest.mark.parametrize("verb", ["requeue", "discard"])
    def test_some_or_all_are_requeued_or_discarded(self, harness: Harness, verb: str) -> None:
        queue, other = harness.queue(), harness.queue()
        store = harness.store
        act = store.requeue_dead if verb == "requeue" else store.discard_dead
        dead = bury(harness, queue, 4)
        elsewhere = bury(harness, other)
        alive = harness.publish(other)

        assert act(queue, [dead[1], dead[1], *elsewhere, *alive, "unknown"]) == 1
        assert act(queue, []) == 0
        assert harness.counts(queue) == Counts(ready=int(verb == "requeue"), dead=3)
        left = [each.delivery.id for each in store.dead_letters(queue, limit=10, after=None)]
        assert left == [dead[0], dead[2], dead[3]]
        assert act(queue, None) == 3
        assert act(queue, None) == 0

        assert harness.counts(queue) == Counts(ready=4 * (verb == "requeue"))
        assert harness.counts(other) == Counts(ready=1, dead=1)

    def test_a_discarded_job_is_forgotten(self, harness: Harness) -> None:
        queue = harness.queue()
        (job_id,) = bury(harness, queue)

        assert harness.store.discard_dead(queue, [job_id]) == 1

        assert harness.counts(queue) == Counts()
        if harness.capabilities.job_identity:
            assert harness.store.record(job_id) is None

    def test_dead_letters_stay_unless_they_have_a_time_to_live(self, harness: Harness) -> None:
        lasting = harness.queue()
        passing = harness.queue(options=QueueOptions(dead_letter_ttl=harness.span(100)))
        bury(harness, lasting)
        bury(harness, passing)

        harness.advance(98)
        assert (harness.counts(lasting).dead, harness.counts(passing).dead) == (1, 1)
        harness.advance(4)

        assert (harness.counts(lasting).dead, harness.counts(passing).dead) == (1, 0)
        assert harness.store.dead_letters(passing, limit=10, after=None) == []
        assert harness.store.requeue_dead(passing, None) == 0

    def test_the_record_of_a_dead_job_tells_its_failure(self, harness: Harness) -> None:
        queue = harness.queue()
        (job_id,) = bury(harness, queue)
        if lacks_identity(harness, lambda: harness.store.record(job_id)):
            return

        found = harness.record(job_id)

        assert (found.state, found.queue, found.attempts) == (JobState.DEAD, queue, 1)
        assert found.failure is not None
        assert found.failure.reason == "failed"

    def test_the_records_of_many_jobs_come_in_the_order_they_are_asked_for(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        (dead,) = bury(harness, queue)
        waiting = harness.publish(queue, 250)
        asked = [*reversed(waiting), "unknown", dead, waiting[0]]
        if lacks_identity(harness, lambda: harness.store.records(asked)):
            return

        found = harness.store.records(asked)

        assert [each and each.id for each in found] == [*reversed(waiting), None, dead, waiting[0]]
        assert [found[-1], found[-2]] == [harness.record(waiting[0]), harness.record(dead)]
        assert harness.store.records([]) == []

    def test_a_purge_leaves_the_dead(self, harness: Harness) -> None:
        queue = harness.queue()
        bury(harness, queue)
        harness.publish(queue)

        assert harness.store.purge(queue) == 1
        assert harness.counts(queue) == Counts(dead=1)

    def test_an_unknown_queue_is_an_error(self, harness: Harness) -> None:
        store = harness.store
        for call in (
            lambda: store.dead_letters("nowhere", limit=1, after=None),
            lambda: store.requeue_dead("nowhere", None),
            lambda: store.discard_dead("nowhere", None),
        ):
            with pytest.raises(QueueNotFoundError):
                call()


class Rule15Counts:
    """Ready, delayed, leased, dead and the age of the oldest ready job; looking changes nothing."""

    def test_each_job_is_counted_in_its_state(self, harness: Harness) -> None:
        queue = harness.queue()
        bury(harness, queue, 1)
        harness.publish(queue, 5)
        harness.take(harness.holder(), queue, 2)
        harness.publish(queue, 4, delay=harness.span(10))

        assert harness.counts(queue) == Counts(ready=3, delayed=4, leased=2, dead=1)
        assert harness.store.stats(queue).queue_type == "fifo"

    def test_completed_and_cancelled_jobs_with_a_record_are_not_counted(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        done, _ = harness.publish(queue, 2, keep=harness.span(1000))

        holder.settle([ack(harness.take_one(holder, queue))])
        if harness.capabilities.job_identity:
            assert harness.record(done).state == JobState.COMPLETED

        assert harness.counts(queue) == Counts(ready=1)

    def test_the_age_is_that_of_the_oldest_ready_job(self, harness: Harness) -> None:
        for queue_type in harness.capabilities.queue_types:
            queue = harness.queue(queue_type)
            assert harness.store.stats(queue).oldest_ready_age is None
            harness.publish(queue, priority=1)
            harness.advance(10)
            harness.publish(queue, priority=9)
            harness.publish(queue, delay=harness.span(500))
            harness.advance(5)

            age = harness.store.stats(queue).oldest_ready_age

            if harness.capabilities.exact_counts:
                assert age == pytest.approx(harness.span(15), abs=harness.span(1))

    def test_looking_changes_nothing(self, harness: Harness) -> None:
        queue = harness.queue(options=QueueOptions(dead_letter_ttl=harness.span(100)))
        bury(harness, queue, 2)
        dying = harness.holder()
        harness.publish(queue, 3)
        harness.take_one(dying, queue)
        harness.publish(queue, delay=harness.span(10))
        harness.publish(queue, ttl=harness.span(10))
        harness.crash(dying)
        harness.advance(12)

        looks = {
            (
                str(harness.counts(queue)),
                len(harness.store.dead_letters(queue, limit=9, after=None)),
            )
            for _ in range(5)
        }

        # a broker drops an expired job at the head of its queue, and counts it until then
        expired = 0 if harness.capabilities.exact_counts else 1
        assert looks == {(str(Counts(ready=4 + expired, dead=2)), 2)}

    def test_looking_at_a_dead_holders_lease_does_not_hand_it_out(self, harness: Harness) -> None:
        queue = harness.queue()
        dying = harness.holder()
        harness.publish(queue)
        first = harness.take_one(dying, queue)
        harness.crash(dying)
        for _ in range(3):
            harness.store.stats(queue)

        again = harness.take_one(harness.holder(), queue)

        assert again.lost == 1
        assert again.delivery > first.delivery

    def test_an_unknown_queue_is_an_error(self, harness: Harness) -> None:
        with pytest.raises(QueueNotFoundError):
            harness.store.stats("nowhere")


class Rule17BackendAway:
    """What cannot be reached says so, with its address; constructing a client asks for nothing."""

    def test_constructing_a_client_of_a_place_that_is_away_raises_nothing(
        self, harness: Harness
    ) -> None:
        assert harness.open_unusable().store.backend == harness.store.backend

    def test_every_use_of_a_place_that_is_away_says_where_it_is(self, harness: Harness) -> None:
        store = harness.open_unusable().store
        for call in (
            lambda: store.declare_queue(QueueSpec("away")),
            lambda: store.publish("away", [entry()]),
            lambda: store.stats("away"),
            store.holder,
        ):
            with pytest.raises(BackendUnavailableError) as caught:
                call()
            assert caught.value.backend == store.backend
            assert store.address in str(caught.value)

    def test_a_closed_holder_is_not_used_again(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue)
        holder.close()
        holder.close()

        with pytest.raises(BackendUnavailableError):
            holder.receive([queue], limit=1, wait=0)
        assert harness.counts(queue) == Counts(ready=1)


class Rule18IdleCostsNothing:
    """An idle consumer blocks: it takes next to no time of the processor, and can be woken."""

    def test_an_idle_consumer_takes_next_to_no_processor_time(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        holder = harness.holder(client)
        blocked = Background(lambda: holder.receive([queue], limit=1, wait=None))
        pause(0.1)

        before = time.process_time()
        pause(1.0)
        used = time.process_time() - before
        holder.wake()

        assert blocked.result().deliveries == []
        assert used < 0.05, f"{used:.3f} s of processor time in a second"

    def test_a_bounded_wait_ends(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        holder = harness.holder(client)
        blocked = Background(lambda: holder.receive([queue], limit=1, wait=0.1))

        assert blocked.result(within=20).deliveries == []

    def test_a_wake_before_the_wait_is_not_lost(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        holder = harness.holder(client)

        holder.wake()
        blocked = Background(lambda: holder.receive([queue], limit=1, wait=None))

        assert blocked.result(within=20).deliveries == []

    def test_waiting_for_an_outcome_ends_with_it(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        holder = harness.holder(client)
        if lacks_identity(harness, lambda: client.store.wait_finished("x", 0)):
            return
        client.store.publish(queue, [entry("asked", keep=60.0)])
        waiting = Background(lambda: client.store.wait_finished("asked", 30))
        (delivery,) = holder.receive([queue], limit=1, wait=5).deliveries
        pause(0.05)
        assert not waiting.done.is_set()

        holder.settle([ack(delivery, '"result"')])

        found = waiting.result(within=20)
        assert found is not None
        assert (found.state, found.result) == (JobState.COMPLETED, '"result"')

    def test_waiting_for_an_outcome_has_a_bound(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        if not harness.capabilities.job_identity:
            return
        client.store.publish(queue, [entry("asked", keep=60.0)])

        found = Background(lambda: client.store.wait_finished("asked", 0.1)).result(within=20)

        assert found is not None
        assert found.state == JobState.READY
        assert client.store.wait_finished("unknown", 0.1) is None


class Rule19PurgeAndDelete:
    """A purge removes what waits; deleting removes everything, and what is held becomes stale."""

    def test_a_purge_removes_ready_and_delayed_jobs_and_counts_them(self, harness: Harness) -> None:
        queue, other = harness.queue(), harness.queue()
        holder = harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(holder, queue)
        harness.publish(queue, 3)
        harness.publish(queue, 2, delay=harness.span(10))
        harness.publish(other)

        assert harness.store.purge(queue) == 5
        assert harness.store.purge(queue) == 0

        assert harness.counts(queue) == Counts(leased=1)
        assert harness.counts(other) == Counts(ready=1)
        assert holder.settle([ack(delivery)]) == []
        harness.advance(12)
        assert harness.take(holder, queue) == []

    def test_a_purged_job_is_forgotten_unless_its_outcome_is_kept(self, harness: Harness) -> None:
        queue = harness.queue()
        (plain,) = harness.publish(queue)
        (kept,) = harness.publish(queue, keep=harness.span(100))

        assert harness.store.purge(queue) == 2

        if lacks_identity(harness, lambda: harness.store.record(plain)):
            return
        assert harness.store.record(plain) is None
        found = harness.record(kept)
        assert (found.state, found.reason) == (JobState.CANCELLED, "purged")
        harness.advance(102)
        assert harness.store.record(kept) is None

    def test_a_job_released_after_a_purge_is_there(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue)
        delivery = harness.take_one(holder, queue)

        harness.store.purge(queue)
        holder.settle([release(delivery)])

        assert harness.take_one(holder, queue).id == delivery.id

    def test_deleting_removes_everything(self, harness: Harness) -> None:
        queue = harness.queue()
        bury(harness, queue)
        harness.publish(queue, 3)
        harness.publish(queue, delay=harness.span(10))
        harness.take_one(harness.holder(), queue)

        harness.store.delete_queue(queue)

        assert queue not in harness.store.queues()
        for store in (harness.store, harness.open().store):
            with pytest.raises(QueueNotFoundError):
                store.stats(queue)
        assert harness.store.declare_queue(QueueSpec(queue)) is True
        harness.advance(12)
        assert harness.counts(queue) == Counts()
        assert harness.take(harness.holder(), queue) == []

    def test_deleting_leaves_other_queues_alone(self, harness: Harness) -> None:
        queue, other = harness.queue(), harness.queue()
        harness.publish(queue)
        bury(harness, other)
        (job_id,) = harness.publish(other)

        harness.store.delete_queue(queue)

        assert harness.counts(other) == Counts(ready=1, dead=1)
        assert harness.take_one(harness.holder(), other).id == job_id

    def test_a_queue_may_come_back_with_another_type(self, harness: Harness) -> None:
        queue = harness.queue("fifo")
        harness.store.delete_queue(queue)

        harness.store.declare_queue(QueueSpec(queue, "priority"))
        low, high = (harness.publish(queue, priority=each)[0] for each in (1, 2))

        assert ids(harness.take_all(harness.holder(), queue)) == [high, low]

    def test_options_are_kept_with_the_queue(self, harness: Harness) -> None:
        options = QueueOptions(max_deliveries=7, lease=harness.span(9), result_ttl=60.0)
        queue = harness.queue(options=options)

        harness.store.declare_queue(QueueSpec(queue))

        assert harness.open().store.queues()[queue].options == options

    def test_options_given_later_hold_for_all_clients(self, harness: Harness) -> None:
        queue = harness.queue()
        dying = harness.holder()
        harness.publish(queue)
        harness.take_one(dying, queue)

        harness.open().store.declare_queue(QueueSpec(queue, options=QueueOptions(max_deliveries=1)))
        harness.crash(dying)

        assert harness.take(harness.holder(), queue) == []
        assert harness.counts(queue) == Counts(dead=1)

    def test_an_unknown_name_is_an_error(self, harness: Harness) -> None:
        with pytest.raises(QueueNotFoundError):
            harness.store.purge("nowhere")
        with pytest.raises(QueueNotFoundError):
            harness.store.delete_queue("nowhere")


class Rule21Cancel:
    """What waits is gone at once; what runs is told, and ends cancelled whatever it returns."""

    @pytest.mark.parametrize("delay", [0.0, 10.0])
    @pytest.mark.parametrize("kept", [False, True], ids=["forgotten", "kept"])
    def test_a_waiting_job_is_cancelled_at_once(
        self, harness: Harness, delay: float, kept: bool
    ) -> None:
        queue = harness.queue()
        keep = harness.span(1000) if kept else None
        (job_id,) = harness.publish(queue, delay=harness.span(delay), keep=keep)
        if lacks_identity(harness, lambda: harness.store.cancel(job_id)):
            return

        assert harness.store.cancel(job_id) is True

        assert harness.counts(queue) == Counts()
        if kept:
            assert harness.record(job_id).state == JobState.CANCELLED
        else:
            assert harness.store.record(job_id) is None
        assert harness.store.cancel(job_id) is False
        harness.advance(12)
        assert harness.take(harness.holder(), queue) == []

    @pytest.mark.parametrize("verdict", LATE)
    @pytest.mark.parametrize("kept", [False, True], ids=["forgotten", "kept"])
    def test_a_running_job_ends_cancelled_whatever_its_holder_says(
        self, harness: Harness, verdict: str, kept: bool
    ) -> None:
        queue = harness.queue()
        holder, other = harness.holder(), harness.holder()
        keep = harness.span(1000) if kept else None
        (job_id,) = harness.publish(queue, keep=keep)
        delivery = harness.take_one(holder, queue)
        if not harness.capabilities.job_identity:
            return

        assert harness.store.cancel(job_id) is True
        assert holder.cancelled() == {job_id}
        assert other.cancelled() == frozenset()
        assert harness.counts(queue) == Counts(leased=1)
        assert holder.settle([LATE[verdict](delivery)]) == []

        assert harness.counts(queue) == Counts()
        assert holder.cancelled() == frozenset()
        assert harness.store.cancel(job_id) is False
        found = harness.store.record(job_id)
        assert (found is not None and found.state == JobState.CANCELLED) is kept
        harness.advance(12)
        assert harness.take(holder, queue) == []

    @pytest.mark.parametrize("kept", [False, True], ids=["forgotten", "kept"])
    def test_a_running_job_ends_cancelled_when_its_holder_dies(
        self, harness: Harness, kept: bool
    ) -> None:
        queue = harness.queue()
        dying = harness.holder()
        (job_id,) = harness.publish(queue, keep=harness.span(1000) if kept else None)
        harness.take_one(dying, queue)
        if not harness.capabilities.job_identity:
            return
        harness.store.cancel(job_id)

        harness.crash(dying)

        assert harness.take(harness.holder(), queue) == []
        assert harness.counts(queue) == Counts()
        found = harness.store.record(job_id)
        assert (found is not None and found.state == JobState.CANCELLED) is kept

    def test_only_unfinished_jobs_can_be_cancelled(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        if not harness.capabilities.job_identity:
            return
        (dead,) = bury(harness, queue)
        (done,) = harness.publish(queue, keep=harness.span(1000))
        holder.settle([ack(harness.take_one(holder, queue), "1")])

        assert [harness.store.cancel(each) for each in (dead, done, "unknown")] == [False] * 3

        assert harness.record(done).state == JobState.COMPLETED
        assert harness.counts(queue) == Counts(dead=1)

    def test_a_job_cancelled_by_another_client_is_seen_by_its_holder(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        jobs = harness.publish(queue, 3)
        harness.take(holder, queue, 3)
        if not harness.capabilities.job_identity:
            return

        harness.open().store.cancel(jobs[1])

        assert holder.cancelled() == {jobs[1]}

    def test_a_waiter_learns_that_the_job_was_cancelled(self, harness: Harness) -> None:
        client = harness.open_real()
        queue = harness.queue(client=client)
        if not harness.capabilities.job_identity:
            return
        client.store.publish(queue, [entry("asked", keep=60.0)])
        waiting = Background(lambda: client.store.wait_finished("asked", 30))
        pause(0.05)

        client.store.cancel("asked")

        found = waiting.result(within=20)
        assert found is not None
        assert found.state == JobState.CANCELLED


class RecordsOfJobs:
    """Rule 14, below the results: what a store knows of a job, and how long."""

    def test_the_record_follows_the_job(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(queue, keep=harness.span(100), delay=harness.span(10))
        if lacks_identity(harness, lambda: harness.store.record(job_id)):
            return
        seen = [harness.record(job_id).state]
        harness.advance(12)
        seen.append(harness.record(job_id).state)
        delivery = harness.take_one(holder, queue)
        seen.append(harness.record(job_id).state)
        holder.settle([nack(delivery)])
        found = harness.record(job_id)
        seen.append(found.state)
        assert (found.attempts, found.lost, found.delivery) == (1, 0, delivery.delivery)
        holder.settle([ack(harness.take_one(holder, queue), '{"x": 1}')])
        found = harness.record(job_id)
        seen.append(found.state)

        assert seen[2:] == [JobState.LEASED, JobState.READY, JobState.COMPLETED]
        assert seen[0] == JobState.DELAYED
        assert seen[1] in (JobState.DELAYED, JobState.READY), "due, but nobody looked"
        assert (found.result, found.queue, found.failure) == ('{"x": 1}', queue, None)

    def test_a_kept_outcome_is_forgotten_in_time(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(queue, keep=harness.span(100))
        holder.settle([ack(harness.take_one(holder, queue), "1")])
        if lacks_identity(harness, lambda: harness.store.record(job_id)):
            return

        harness.advance(98)
        assert harness.record(job_id).result == "1"
        harness.advance(4)

        assert harness.store.record(job_id) is None

    def test_a_job_without_a_kept_outcome_is_forgotten_at_once(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(queue)
        holder.settle([ack(harness.take_one(holder, queue), "1")])
        if lacks_identity(harness, lambda: harness.store.record(job_id)):
            return

        assert harness.store.record(job_id) is None

    def test_progress_can_be_read_while_the_job_runs(self, harness: Harness) -> None:
        queue = harness.queue()
        holder = harness.holder()
        (job_id,) = harness.publish(queue)
        delivery = harness.take_one(holder, queue)
        if lacks_identity(harness, lambda: holder.progress(delivery, 1.0, None)):
            return

        assert harness.record(job_id).progress is None
        holder.progress(delivery, 3.0, 10.0)
        assert harness.record(job_id).progress == (3.0, 10.0)
        holder.progress(delivery, 4.0, None)
        assert harness.record(job_id).progress == (4.0, None)

    def test_nothing_is_known_of_an_unknown_job(self, harness: Harness) -> None:
        if lacks_identity(harness, lambda: harness.store.record("unknown")):
            return

        assert harness.store.record("unknown") is None
