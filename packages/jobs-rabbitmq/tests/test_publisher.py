"""Publishing returns when the broker has confirmed, and tells what it has not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from rabbitmq_support import job, put, take

from mindtrace.jobs import BackendUnavailableError, RabbitMQClient
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import entry
from mindtrace.jobs.testing.waiting import Background
from mindtrace.jobs_rabbitmq import publisher as publishing
from mindtrace.jobs_rabbitmq.frames import Posting
from mindtrace.jobs_rabbitmq.publisher import AT_ONCE, BYTES_AT_ONCE, Publisher
from mindtrace.jobs_rabbitmq.store import RabbitMQStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from mindtrace.jobs_rabbitmq.link import Link

pytestmark = pytest.mark.rabbitmq


def link_of(client: RabbitMQClient) -> Link:
    assert isinstance(client.store, RabbitMQStore)
    return client.store.publishing


@pytest.fixture
def publisher(client: RabbitMQClient) -> Publisher:
    """A publisher on the client's connection."""
    return Publisher(link_of(client))


@pytest.fixture
def queue(raw: BlockingChannel, namespace: str) -> Iterator[str]:
    """A queue of the broker that is no queue of ours."""
    raw.queue_declare(f"{namespace}:plain", durable=True)
    yield f"{namespace}:plain"
    raw.queue_delete(f"{namespace}:plain")


def postings(queue: str, count: int, size: int = 10) -> list[Posting]:
    return [Posting(queue, str(number), "[]", bytes(size)) for number in range(count)]


def drained(raw: BlockingChannel, queue: str) -> list[str]:
    """Take everything out, and return the ids."""
    found: list[str] = []
    while True:
        method, properties, _ = raw.basic_get(queue, auto_ack=True)
        if method is None or properties is None:
            return found
        found.append(str(properties.message_id))


def test_messages_arrive_persistent_and_in_order(
    publisher: Publisher, raw: BlockingChannel, queue: str
) -> None:
    assert publisher.publish(postings(queue, 3)) == set()

    method, properties, body = raw.basic_get(queue, auto_ack=True)
    assert method
    assert properties
    assert (properties.delivery_mode, properties.message_id, body) == (2, "0", bytes(10))
    assert drained(raw, queue) == ["1", "2"]


def test_nothing_is_published_without_a_word(publisher: Publisher) -> None:
    assert publisher.publish([]) == set()


def test_what_cannot_be_routed_is_told(
    publisher: Publisher, raw: BlockingChannel, queue: str
) -> None:
    mixed = [*postings(queue, 3), *postings("nowhere-1", 2), *postings("nowhere-2", 1)]

    assert publisher.publish(mixed) == {"nowhere-1", "nowhere-2"}

    assert drained(raw, queue) == ["0", "1", "2"]
    assert publisher.publish(postings(queue, 1)) == set()


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE + 7])
def test_thousands_arrive_in_order(
    publisher: Publisher, raw: BlockingChannel, queue: str, count: int
) -> None:
    assert publisher.publish(postings(queue, count)) == set()

    assert drained(raw, queue) == [str(number) for number in range(count)]


@pytest.mark.parametrize("size", [0, 131_064, 131_065, BYTES_AT_ONCE + 1])
def test_bodies_of_any_length_arrive_whole(
    publisher: Publisher, raw: BlockingChannel, queue: str, size: int
) -> None:
    body = bytes(number % 251 for number in range(size))

    publisher.publish([Posting(queue, "1", "[]", body), Posting(queue, "2", "[]", b"next")])

    assert raw.basic_get(queue, auto_ack=True)[2] == body
    assert raw.basic_get(queue, auto_ack=True)[2] == b"next"


def test_large_jobs_go_through_a_consumer_whole(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")
    bodies = [f'{{"payload": "{"x" * size}"}}' for size in (0, 70_000, 300_000, 2_000_000)]

    put(client, "tasks", *(entry(body=body) for body in bodies))

    assert [each.body for each in take(client, "tasks", 4)] == bodies


def test_many_threads_publish_through_one_connection(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")

    def publish(number: int) -> None:
        for each in range(20):
            put(client, "tasks", *(job(f"{number}-{each}-{part}") for part in range(5)))

    for work in [Background(partial(publish, number)) for number in range(6)]:
        work.result(within=60)

    found = [each.id for each in take(client, "tasks", 600)]
    assert len(set(found)) == 600
    for number in range(6):
        own = [each for each in found if each.startswith(f"{number}-")]
        wanted = [f"{number}-{each}-{part}" for each in range(20) for part in range(5)]
        assert own == wanted


def test_a_connection_that_breaks_in_the_middle_of_a_batch_is_told_and_made_anew(
    client: RabbitMQClient,
) -> None:
    client.declare_queue("tasks")
    jobs = [job(str(number)) for number in range(20 * AT_ONCE)]
    work = Background(partial(put, client, "tasks", *jobs))
    with RabbitMQClient.from_url(url_of(client)) as other:
        eventually(lambda: other.count_queue_messages("tasks") > 0 or work.done.is_set(), within=20)

    link_of(client).drop()

    with pytest.raises(BackendUnavailableError, match=r"lost|reset") as caught:
        work.result(within=60)
    assert caught.value.transient
    assert caught.value.__cause__ is not None
    assert put(client, "tasks", job("after")) == ["after"]


def url_of(client: RabbitMQClient) -> str:
    location = client.consumer_backend_args["kwargs"]
    login = f"{location['username']}:{location['password']}@"
    return str(location["url"]).replace("://", f"://{login}")


def test_a_broker_that_does_not_confirm_is_told(
    client: RabbitMQClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job())
    monkeypatch.setattr(publishing, "CONFIRM_WITHIN", 0.0)

    with pytest.raises(BackendUnavailableError, match="did not confirm within 0 s"):
        put(client, "tasks", *(job() for _ in range(500)))

    monkeypatch.undo()
    assert put(client, "tasks", job("after")) == ["after"]


def test_a_closed_client_publishes_nothing(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")
    client.close()

    with pytest.raises(BackendUnavailableError, match="this client was closed") as caught:
        put(client, "tasks", job())
    assert not caught.value.transient
