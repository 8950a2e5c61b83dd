"""A replicated queue keeps the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rabbitmq_support import job, put, take

from mindtrace.jobs import Consumer, Job, Orchestrator, RetryPolicy
from mindtrace.jobs.testing.harness import ack, nack, reject, release

if TYPE_CHECKING:
    from mindtrace.jobs import RabbitMQClient

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def client(client: RabbitMQClient) -> RabbitMQClient:
    """A client with a quorum queue."""
    client.declare_queue("tasks", "quorum", max_deliveries=2)
    return client


def counts(client: RabbitMQClient) -> tuple[int, int, int, int]:
    found = client.queue_stats("tasks")
    return found.ready, found.delayed, found.leased, found.dead


def test_jobs_come_in_publish_order_and_are_gone_when_completed(client: RabbitMQClient) -> None:
    put(client, "tasks", *(job(str(number)) for number in range(50)))
    holder = client.store.holder()

    found = holder.receive(["tasks"], limit=50, wait=5).deliveries

    assert [each.id for each in found] == [str(number) for number in range(50)]
    assert holder.settle([ack(each) for each in found]) == []
    assert holder.receive(["tasks"], limit=1, wait=0).deliveries == []
    assert counts(client)[2:] == (0, 0)


def test_a_crash_is_counted_and_the_second_is_poison(client: RabbitMQClient) -> None:
    put(client, "tasks", job("1"))
    numbers: list[int] = []
    for lost in (0, 1):
        holder = client.store.holder()
        (delivery,) = holder.receive(["tasks"], limit=5, wait=10).deliveries
        assert delivery.lost == lost
        numbers.append(delivery.delivery)
        holder.abandon()  # type: ignore[attr-defined] # it dies as a process does

    assert take(client, "tasks", 1, 2) == []
    (letter,) = client.dead_letters("tasks")
    assert (letter.job_id, letter.reason, letter.lost) == ("1", "poison", 2)
    assert numbers == sorted(set(numbers))


def test_release_counts_nothing(client: RabbitMQClient) -> None:
    put(client, "tasks", job("1"))
    holder = client.store.holder()
    for _ in range(4):
        (delivery,) = holder.receive(["tasks"], limit=1, wait=10).deliveries
        assert (delivery.lost, delivery.attempts) == (0, 0)
        assert holder.settle([release(delivery)]) == []


def test_retries_delays_and_dead_letters(client: RabbitMQClient) -> None:
    put(client, "tasks", job("1", delay=0.1))
    holder = client.store.holder()
    (delivery,) = holder.receive(["tasks"], limit=1, wait=20).deliveries
    holder.settle([nack(delivery, 0.1)])
    (delivery,) = holder.receive(["tasks"], limit=1, wait=20).deliveries
    assert delivery.attempts == 1

    holder.settle([reject(delivery)])

    assert [each.attempts for each in client.dead_letters("tasks")] == [2]
    assert client.requeue_dead_letters("tasks") == 1
    (delivery,) = holder.receive(["tasks"], limit=1, wait=20).deliveries
    assert (delivery.id, delivery.attempts) == ("1", 0)


def test_priorities_are_carried_without_effect(client: RabbitMQClient) -> None:
    put(client, "tasks", job("1", priority=1), job("9", priority=9))

    assert [(each.id, each.priority) for each in take(client, "tasks", 2)] == [("1", 1), ("9", 9)]


def test_a_consumer_runs_them(client: RabbitMQClient) -> None:
    class Flaky(Consumer):
        retry = RetryPolicy(max_attempts=2)
        ran = 0

        def run(self, job_dict: object) -> None:
            self.ran += 1
            if self.ran == 1:
                message = "the first time"
                raise ValueError(message)

    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("tasks", retry=RetryPolicy(max_attempts=2, backoff=0.05))
    for _ in range(30):
        orchestrator.publish("tasks", Job(name="any", payload={}))
    consumer = Flaky()
    consumer.connect_to_orchestrator(orchestrator, "tasks")

    assert consumer.consume(31, timeout=60) == 31
    assert counts(client) == (0, 0, 0, 0)
