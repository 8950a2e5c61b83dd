"""Delayed jobs wait in queues of their own, which come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rabbitmq_support import job, put, take

from mindtrace.core import SystemClock
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import pause
from mindtrace.jobs_rabbitmq import sending
from mindtrace.jobs_rabbitmq.names import Names
from mindtrace.jobs_rabbitmq.sending import length_of
from mindtrace.jobs_rabbitmq.store import RabbitMQStore
from mindtrace.jobs_rabbitmq.wire import count

if TYPE_CHECKING:
    from mindtrace.jobs import RabbitMQClient


def exists(client: RabbitMQClient, name: str) -> bool:
    """Tell whether the broker has a queue of that name."""
    assert isinstance(client.store, RabbitMQStore)
    return client.store.publishing.call(lambda connection: count(connection, name)) is not None


@pytest.mark.parametrize(
    ("delay", "length"),
    [
        (0.001, 50),
        (0.05, 50),
        (0.0501, 100),
        (1, 1000),
        (9.99, 10_000),
        (10, 10_000),
        (10.001, 10_500),
        (60.2, 60_500),
        (86_400, 86_400_000),
    ],
)
def test_delays_are_rounded_up_to_a_grid(delay: float, length: int) -> None:
    assert length_of(delay) == length


@given(st.floats(0.0001, 10**7))
def test_no_job_is_early_and_few_are_late(delay: float) -> None:
    late = length_of(delay) / 1000 - delay

    assert -1e-6 * delay <= late <= (0.05 if delay <= 10 else 0.5) + 1e-6 * delay


def test_random_delays_make_few_queues() -> None:
    assert len({length_of(1 + number / 1000) for number in range(1000)}) <= 21
    assert len({length_of(60 + number / 100) for number in range(1000)}) <= 21


@pytest.mark.rabbitmq
def test_a_delayed_job_comes_when_it_is_due(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")
    clock = SystemClock()
    began = clock.monotonic()

    put(client, "tasks", job("late", delay=3.0), job("soon", delay=1.5), job("now"))

    assert client.queue_stats("tasks").delayed >= 1
    found = [take(client, "tasks", 1, 20)[0].id for _ in range(3)]
    assert found == ["now", "soon", "late"]
    assert clock.monotonic() - began >= 3.0


@pytest.mark.rabbitmq
def test_a_delay_queue_is_removed_after_its_last_use(
    client: RabbitMQClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LINGER", 2000)
    client.declare_queue("tasks")
    queue = Names.of(namespace, "tasks").delay(100)

    put(client, "tasks", job("1", delay=0.1))
    assert exists(client, queue)
    take(client, "tasks", 1, 20)

    def is_gone() -> bool:
        pause(3.0)  # to ask for a queue is to use it, and so to keep it
        return not exists(client, queue)

    eventually(is_gone, within=60)
    put(client, "tasks", job("2", delay=0.1))
    assert exists(client, queue)
    assert [each.id for each in take(client, "tasks", 1, 20)] == ["2"]


@pytest.mark.rabbitmq
def test_a_delay_queue_outlives_its_jobs(
    client: RabbitMQClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LINGER", 50)
    client.declare_queue("tasks")

    put(client, "tasks", *(job(str(number), delay=0.1) for number in range(200)))

    found: set[str] = set()
    while len(found) < 200:
        found |= {each.id for each in take(client, "tasks", 200, 20)}
    assert found == {str(number) for number in range(200)}


@pytest.mark.rabbitmq
def test_a_job_that_expires_before_it_is_due_never_comes(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")

    put(client, "tasks", job("gone", delay=0.3, ttl=0.1), job("there", delay=0.3))

    assert [each.id for each in take(client, "tasks", 5, 20)] == ["there"]
    pause(0.2)
    assert take(client, "tasks", 5, 0) == []
    eventually(lambda: client.queue_stats("tasks").delayed == 0, within=20)


@pytest.mark.rabbitmq
def test_deleting_and_purging_reach_delayed_jobs(client: RabbitMQClient, namespace: str) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job(delay=60.0), job(delay=90.0), job(delay=60.0, ttl=30.0), job())
    names = Names.of(namespace, "tasks")
    beside = [names.delay(60_000), names.delay(90_000), names.doomed(30_000)]
    assert all(exists(client, each) for each in beside)

    assert client.clean_queue("tasks") == 4

    client.delete_queue("tasks")
    assert not [each for each in (*beside, *names, names.lost, names.dead) if exists(client, each)]


@pytest.mark.rabbitmq
def test_another_client_knows_of_the_delayed_jobs(client: RabbitMQClient, url: str) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job(delay=60.0))

    with type(client).from_url(url) as other:
        eventually(lambda: other.queue_stats("tasks").delayed == 1)
        assert other.clean_queue("tasks") == 1


@pytest.mark.rabbitmq
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_lengths_that_are_not_in_use_any_more_are_forgotten(
    client: RabbitMQClient, monkeypatch: pytest.MonkeyPatch, queue_type: str
) -> None:
    """Else each look at the counts would ask for every length that there ever was."""
    assert isinstance(client.store, RabbitMQStore)
    monkeypatch.setattr(sending, "TRUSTED", 0.1)
    monkeypatch.setattr(sending, "MANY", 4)
    client.declare_queue("tasks", queue_type="quorum" if queue_type == "quorum" else "fifo")
    put(client, "tasks", *[job(delay=0.05 * step) for step in range(1, 4)], job(delay=60.0))
    names = client.store.sender.names("tasks")

    # to the broker each look is a use
    eventually(lambda: client.queue_stats("tasks").ready == 3, within=20)
    pause(0.5)
    put(client, "tasks", job(delay=30))

    assert client.store.directory.read()["tasks"].delays.keys() == {30_000, 60_000}
    assert not any(exists(client, names.delay(each)) for each in (50, 100, 150))
    assert client.queue_stats("tasks").delayed == 2


@pytest.mark.rabbitmq
def test_a_length_that_another_client_forgot_is_listed_again(
    client: RabbitMQClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job(delay=0.05))
    eventually(lambda: client.queue_stats("tasks").ready == 1, within=20)
    with type(client).from_url(url) as other:
        monkeypatch.setattr(sending, "TRUSTED", 0.0)
        monkeypatch.setattr(sending, "MANY", 1)
        pause(0.1)
        put(other, "tasks", job(delay=60))

    monkeypatch.setattr(sending, "TRUSTED", 0.05)
    put(client, "tasks", job(delay=0.05))

    assert isinstance(client.store, RabbitMQStore)
    assert 50 in client.store.directory.read()["tasks"].delays
