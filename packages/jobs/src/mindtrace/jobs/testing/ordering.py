"""Rules 6 and 20: in which order jobs come, and how queues take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mindtrace.jobs.backend import QUEUE_TYPES, QueueSpec, QueueType
from mindtrace.jobs.errors import (
    QueueNotFoundError,
    QueueTypeMismatchError,
    UnsupportedByBackendError,
)
from mindtrace.jobs.testing.harness import Harness, ack, entry, ids, nack, reject, release
from mindtrace.jobs.testing.waiting import Background, pause, seconds_of

if TYPE_CHECKING:
    from mindtrace.jobs.backend import Holder

every_type = pytest.mark.parametrize("queue_type", QUEUE_TYPES)


def lacks_type(harness: Harness, queue_type: QueueType) -> bool:
    """Tell whether the store has no such queues; declaring one must then say so."""
    if queue_type in harness.capabilities.queue_types:
        return False
    with pytest.raises(UnsupportedByBackendError):
        harness.queue(queue_type)
    return True


def ordered(queue_type: QueueType, published: list[tuple[str, int]]) -> list[str]:
    """Return (id, priority) pairs in the order in which a queue hands them out."""
    in_order = list(published)
    if queue_type == "stack":
        in_order.reverse()
    if queue_type == "priority":
        in_order.sort(key=lambda each: -each[1])
    return [job_id for job_id, _ in in_order]


class Rule06Order:
    """Fifo: publish order. Stack: newest first. Priority: higher first, then publish order."""

    @every_type
    @pytest.mark.parametrize("limit", [1, 3, 100])
    @pytest.mark.parametrize("batched", [False, True], ids=["one by one", "in one call"])
    def test_jobs_come_in_the_order_of_their_queue(
        self, harness: Harness, queue_type: QueueType, limit: int, batched: bool
    ) -> None:
        if lacks_type(harness, queue_type):
            return
        queue = harness.queue(queue_type)
        entries = [entry(priority=priority) for priority in (2, 0, 5, 5, 2, 0, 9, 2, 5, 1)]
        for batch in [entries] if batched else [[each] for each in entries]:
            harness.store.publish(queue, batch)

        found = ids(harness.take_all(harness.holder(), queue, limit))

        assert found == ordered(queue_type, [(each.id, each.priority) for each in entries])

    @every_type
    def test_priority_travels_with_the_job_in_every_queue(
        self, harness: Harness, queue_type: QueueType
    ) -> None:
        if lacks_type(harness, queue_type):
            return
        queue = harness.queue(queue_type)
        harness.publish(queue, priority=7)

        assert harness.take_one(harness.holder(), queue).priority == 7

    @every_type
    def test_the_order_holds_while_others_publish_and_settle(
        self, harness: Harness, queue_type: QueueType
    ) -> None:
        if lacks_type(harness, queue_type):
            return
        queue = harness.queue(queue_type)
        holder = harness.holder()
        waiting: list[tuple[str, int]] = []
        for step in range(12):
            for priority in (step % 3, 4 - step % 5 if step < 4 else 0):
                (job_id,) = harness.publish(queue, priority=priority)
                waiting.append((job_id, priority))
            expected = ordered(queue_type, waiting)[0]
            delivery = harness.take_one(holder, queue)
            assert delivery.id == expected
            holder.settle([ack(delivery)])
            waiting = [each for each in waiting if each[0] != expected]

    def test_any_integer_is_a_priority_unless_the_store_says_otherwise(
        self, harness: Harness
    ) -> None:
        if lacks_type(harness, "priority"):
            return
        queue = harness.queue("priority")
        levels = (255, 1, 128, 0, 2, 254)

        for priority in levels:
            harness.publish(queue, priority=priority)
        found = harness.take_all(harness.holder(), queue)

        assert [each.priority for each in found] == sorted(levels, reverse=True)

    @every_type
    @pytest.mark.parametrize("way", ["release", "nack", "nack with delay", "crash", "requeue"])
    def test_a_job_that_comes_back_takes_its_publish_place(
        self, harness: Harness, queue_type: QueueType, way: str
    ) -> None:
        if lacks_type(harness, queue_type):
            return
        queue = harness.queue(queue_type)
        holder, dying = harness.holder(), harness.holder()
        wanted = ordered(queue_type, [(each, 0) for each in harness.publish(queue, 4)])
        first = harness.take_one(holder, queue)
        second = harness.take_one(dying if way == "crash" else holder, queue)
        third = harness.take_one(holder, queue)
        holder.settle([release(third)])

        match way:
            case "release":
                holder.settle([release(second)])
            case "nack":
                holder.settle([nack(second)])
            case "nack with delay":
                holder.settle([nack(second, delay=harness.span(10))])
                harness.advance(12)
            case "crash":
                harness.crash(dying)
            case _:
                holder.settle([reject(second)])
                harness.store.requeue_dead(queue, None)
        holder.settle([release(first)])
        found = ids(harness.take_all(holder, queue))

        if harness.capabilities.released_jobs_keep_their_place:
            assert found == wanted
        assert sorted(found) == sorted(wanted)

    @every_type
    def test_a_due_job_takes_its_publish_place(
        self, harness: Harness, queue_type: QueueType
    ) -> None:
        if lacks_type(harness, queue_type):
            return
        queue = harness.queue(queue_type)
        published = [
            harness.publish(queue, delay=harness.span(delay) if delay else 0.0)[0]
            for delay in (0, 10, 0, 5)
        ]

        harness.advance(12)
        found = ids(harness.take_all(harness.holder(), queue, 10))

        if harness.capabilities.released_jobs_keep_their_place:
            assert found == ordered(queue_type, [(each, 0) for each in published])
        assert sorted(found) == sorted(published)

    @every_type
    def test_a_queue_keeps_its_type(self, harness: Harness, queue_type: QueueType) -> None:
        if lacks_type(harness, queue_type):
            return
        queue = harness.queue(queue_type)
        known = harness.capabilities.queue_types
        other: QueueType = next(each for each in known if each != queue_type)

        assert harness.store.declare_queue(QueueSpec(queue)) is False
        assert harness.store.declare_queue(QueueSpec(queue, queue_type)) is False
        with pytest.raises(QueueTypeMismatchError) as caught:
            harness.store.declare_queue(QueueSpec(queue, other))

        assert (caught.value.declared, caught.value.requested) == (queue_type, other)
        assert harness.open().store.queues()[queue].queue_type == queue_type

    def test_a_queue_is_fifo_unless_said_otherwise(self, harness: Harness) -> None:
        name = harness.unique("new")

        assert harness.store.declare_queue(QueueSpec(name)) is True

        assert harness.store.queues()[name].queue_type == "fifo"

    def test_a_due_job_starts_in_time_with_an_idle_consumer(self, harness: Harness) -> None:
        client = harness.open_real()
        client.store.declare_queue(QueueSpec("soon"))
        holder = harness.holder(client)
        delay = 0.3
        late: list[float] = []
        for _ in range(4):
            client.store.publish("soon", [entry(delay=delay)])
            waited = seconds_of(lambda: holder.receive(["soon"], limit=1, wait=10))
            late.append(waited - delay)

        # the best of a few: a busy machine delays single ones
        assert -0.05 <= min(late) <= harness.lateness, late

    def test_a_fresh_job_wakes_a_blocked_consumer_at_once(self, harness: Harness) -> None:
        client = harness.open_real()
        client.store.declare_queue(QueueSpec("fresh"))
        holder = harness.holder(client)
        late: list[float] = []
        for _ in range(4):
            blocked = Background(lambda: holder.receive(["fresh"], limit=1, wait=None))
            pause(0.05)
            assert not blocked.done.is_set()
            client.store.publish("fresh", [entry()])
            late.append(seconds_of(blocked.result))

        assert min(late) <= harness.lateness, late


def receive(holder: Holder, queues: list[str], limit: int = 1) -> list[str]:
    """Receive once from several queues and return the ids."""
    return ids(holder.receive(queues, limit=limit, wait=0).deliveries)


class Rule20SeveralQueues:
    """Queues take turns, beginning after the one served last; a batch is of one queue."""

    def test_queues_take_turns(self, harness: Harness) -> None:
        queues = [harness.queue() for _ in range(3)]
        wanted = [harness.publish(queue, 2) for queue in queues]
        holder = harness.holder()

        found = [receive(holder, queues) for _ in range(6)]

        assert found == [[jobs[turn]] for turn in range(2) for jobs in wanted]

    def test_a_batch_is_of_one_queue(self, harness: Harness) -> None:
        queues = [harness.queue() for _ in range(2)]
        wanted = [harness.publish(queue, 2) for queue in queues]
        holder = harness.holder()

        assert [receive(holder, queues, 10) for _ in range(3)] == [*wanted, []]

    def test_an_empty_queue_loses_its_turn_and_not_more(self, harness: Harness) -> None:
        first, second, third = queues = [harness.queue() for _ in range(3)]
        holder = harness.holder()
        (one,) = harness.publish(first)
        (two,) = harness.publish(third)
        assert [receive(holder, queues) for _ in range(2)] == [[one], [two]]

        (three,) = harness.publish(second)
        (four,) = harness.publish(first)

        assert [receive(holder, queues) for _ in range(2)] == [[four], [three]]

    def test_a_busy_queue_does_not_starve_the_others(self, harness: Harness) -> None:
        busy, quiet = harness.queue(), harness.queue()
        holder = harness.holder()
        harness.publish(busy, 20)
        (patient,) = harness.publish(quiet)

        found = [receive(holder, [busy, quiet], 5) for _ in range(2)]

        assert [patient] in found

    def test_an_unknown_queue_among_them_is_an_error_and_settlements_are_safe(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        harness.publish(queue, 2)
        delivery = harness.take_one(holder, queue)

        with pytest.raises(QueueNotFoundError):
            holder.receive([queue, "nowhere"], limit=1, wait=0, settlements=[ack(delivery)])

        assert holder.settle([ack(delivery)]) == [ack(delivery)], "it was settled already"
        assert harness.store.stats(queue).ready + harness.store.stats(queue).leased == 1

    def test_a_queue_deleted_under_a_consumer_is_an_error_at_the_next_receive(
        self, harness: Harness
    ) -> None:
        queue = harness.queue()
        holder = harness.holder()
        assert harness.take(holder, queue) == []

        harness.open().store.delete_queue(queue)

        with pytest.raises(QueueNotFoundError):
            holder.receive([queue], limit=1, wait=0)
