"""An older list of queues beside the newer, as a killed broker leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
import pytest
from rabbitmq_harness import RabbitMQHarness

from mindtrace.jobs.testing.waiting import Background
from mindtrace.jobs_rabbitmq import names

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.rabbitmq

OLDER = b'{"version": 0, "queues": {}}'


@pytest.fixture
def harness(rabbitmq_url: str) -> Iterator[RabbitMQHarness]:
    with RabbitMQHarness(rabbitmq_url) as harness:
        yield harness


def add_older_list(url: str, listing: str) -> None:
    """Publish what the broker should have forgotten, with the name of that queue."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().basic_publish("", listing, OLDER)
    connection.close()


def count_of(url: str, listing: str) -> int:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    found: int = connection.channel().queue_declare(listing, passive=True).method.message_count
    connection.close()
    return found


def test_many_who_look_at_once_see_the_newer_one(
    harness: RabbitMQHarness, rabbitmq_url: str
) -> None:
    queue = harness.queue()
    listing = names.directory(harness.namespace)
    stores = [harness.open().store for _ in range(4)]
    for _ in range(5):
        add_older_list(rabbitmq_url, listing)

        looks = [Background(lambda store=store: store.queues()) for store in stores]

        assert [set(each.result()) for each in looks] == [{queue}] * len(stores)


def test_who_sees_both_removes_the_older_one(harness: RabbitMQHarness, rabbitmq_url: str) -> None:
    harness.queue()
    listing = names.directory(harness.namespace)
    add_older_list(rabbitmq_url, listing)

    harness.store.queues()

    assert count_of(rabbitmq_url, listing) == 1


def test_a_change_builds_upon_the_newer_one(harness: RabbitMQHarness, rabbitmq_url: str) -> None:
    queue = harness.queue()
    add_older_list(rabbitmq_url, names.directory(harness.namespace))

    other = harness.queue()

    assert set(harness.store.queues()) == {queue, other}
