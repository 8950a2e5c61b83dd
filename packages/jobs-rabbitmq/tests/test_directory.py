"""The list of queues is right whoever changes it, at once, and dying while at it."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from mindtrace.jobs import RetryPolicy
from mindtrace.jobs.backend import QueueOptions
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background
from mindtrace.jobs_rabbitmq.directory import List, Listed
from mindtrace.jobs_rabbitmq.names import directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel

    from mindtrace.jobs import RabbitMQClient

LISTED = Listed("priority", QueueOptions(lease=3.0), False, 7, {-50: 3.5, 100: 4.5}, 5.5)


def lists_in(raw: BlockingChannel, namespace: str) -> int:
    """Return how many lists are in the broker now."""
    return raw.queue_declare(directory(namespace), passive=True).method.message_count


def start(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# as text


def test_a_list_comes_out_as_it_went_in() -> None:
    plain = Listed("fifo", QueueOptions(retry=RetryPolicy(max_attempts=3)), quorum=True)
    found = List(5, {"a": LISTED, "日": plain})

    assert List.from_bytes(found.to_bytes()) == found


def test_what_a_later_release_adds_is_passed_over() -> None:
    written = LISTED.to_json() | {"new": 5}

    assert Listed.from_json(written) == LISTED


def test_what_an_earlier_release_lacks_has_its_default() -> None:
    written = {"type": "fifo", "options": QueueOptions().to_json()}

    assert Listed.from_json(written) == Listed("fifo", QueueOptions())


def test_lengths_of_delay_are_kept_once_with_their_last_use() -> None:
    assert LISTED.with_delays([100, 50], 9.5).delays == {-50: 3.5, 50: 9.5, 100: 9.5}


# in the broker


@pytest.mark.rabbitmq
def test_nobody_needs_a_list_to_look(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    assert client.store.queues() == {}

    with pytest.raises(Exception, match="NOT_FOUND"):
        lists_in(raw, namespace)


@pytest.mark.rabbitmq
def test_looking_changes_nothing(
    client: RabbitMQClient,
    opened: Callable[..., RabbitMQClient],
    raw: BlockingChannel,
    namespace: str,
) -> None:
    client.declare_queue("tasks", "priority", lease=4.0)

    for _ in range(3):
        (found,) = opened().store.queues().values()
        assert (found.name, found.queue_type, found.options.lease) == ("tasks", "priority", 4.0)

    eventually(lambda: lists_in(raw, namespace) == 1)


@pytest.mark.rabbitmq
def test_clients_that_declare_at_once_lose_nothing(
    opened: Callable[..., RabbitMQClient], raw: BlockingChannel, namespace: str
) -> None:
    clients = [opened() for _ in range(4)]

    def declare(number: int) -> None:
        for each in range(5):
            clients[number].declare_queue(f"queue-{number}-{each}")
            assert f"queue-{number}-{each}" in clients[number - 1].store.queues()

    for work in [Background(partial(declare, number)) for number in range(4)]:
        work.result(within=60)

    assert len(clients[0].store.queues()) == 20
    eventually(lambda: lists_in(raw, namespace) == 1)


@pytest.mark.rabbitmq
def test_threads_of_one_client_may_declare_at_once(client: RabbitMQClient) -> None:
    def declare(number: int) -> None:
        for each in range(5):
            client.declare_queue(f"queue-{number}-{each}")
            client.delete_queue(f"queue-{number}-{each}")
            client.declare_queue(f"queue-{number}-{each}")

    for work in [Background(partial(declare, number)) for number in range(4)]:
        work.result(within=60)

    assert len(client.store.queues()) == 20


DECLARING = """
import sys
from mindtrace.jobs import RabbitMQClient
url, number = sys.argv[1:]
with RabbitMQClient.from_url(url) as client:
    for each in range(5):
        client.declare_queue(f"queue-{number}-{each}", lease=float(number) + 1)
"""


@pytest.mark.rabbitmq
@pytest.mark.process
def test_processes_that_declare_at_once_lose_nothing(client: RabbitMQClient, url: str) -> None:
    workers = [start(DECLARING, url, number) for number in range(3)]

    for each in workers:
        _, errors = each.communicate(timeout=90)
        assert each.returncode == 0, errors

    found = client.store.queues()
    assert {name: each.options.lease for name, each in found.items()} == {
        f"queue-{number}-{each}": number + 1.0 for number in range(3) for each in range(5)
    }


KILLED_BEFORE_THE_OLD_LIST_IS_GONE = """
import os, signal, sys
from mindtrace.jobs import RabbitMQClient
from mindtrace.jobs_rabbitmq.wire import Wire
client = RabbitMQClient.from_url(sys.argv[1])
Wire.ack = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
client.declare_queue("second")
"""


@pytest.mark.rabbitmq
@pytest.mark.process
def test_a_change_that_was_cut_in_the_middle_counts(
    client: RabbitMQClient, url: str, raw: BlockingChannel, namespace: str
) -> None:
    client.declare_queue("first")
    worker = start(KILLED_BEFORE_THE_OLD_LIST_IS_GONE, url)
    worker.communicate(timeout=60)
    assert worker.returncode == -9
    eventually(lambda: lists_in(raw, namespace) == 2, what="the old list and the new one")

    assert set(client.store.queues()) == {"first", "second"}
    client.declare_queue("third")

    assert set(client.store.queues()) == {"first", "second", "third"}
    eventually(lambda: lists_in(raw, namespace) == 1)


KILLED_WITH_THE_LOCK = """
import os, signal, sys
from mindtrace.jobs import RabbitMQClient
client = RabbitMQClient.from_url(sys.argv[1])
async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
client.store.directory.change(die)
"""


@pytest.mark.rabbitmq
@pytest.mark.process
def test_whoever_dies_frees_the_lock(client: RabbitMQClient, url: str) -> None:
    client.declare_queue("first")
    worker = start(KILLED_WITH_THE_LOCK, url)
    worker.communicate(timeout=60)
    assert worker.returncode == -9

    client.declare_queue("second")

    assert set(client.store.queues()) == {"first", "second"}


@pytest.mark.rabbitmq
def test_a_change_that_fails_changes_nothing(client: RabbitMQClient) -> None:
    client.declare_queue("tasks", max_priority=5)
    for _ in range(3):
        with pytest.raises(ValueError):
            client.declare_queue("tasks", max_priority=6)

    assert set(client.store.queues()) == {"tasks"}
    client.declare_queue("others")
    assert set(client.store.queues()) == {"tasks", "others"}
