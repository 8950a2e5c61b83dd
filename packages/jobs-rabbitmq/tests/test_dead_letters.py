"""Looking at dead letters takes them out of the broker, which nobody may notice."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
from rabbitmq_support import job, put

from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import reject
from mindtrace.jobs.testing.waiting import Background
from mindtrace.jobs_rabbitmq.dead import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.jobs import RabbitMQClient

pytestmark = pytest.mark.rabbitmq

MANY = 2 * AT_ONCE + 50


def bury(client: RabbitMQClient, count: int) -> list[str]:
    """Let jobs die, and return their ids."""
    client.declare_queue("tasks")
    names = [f"{number:04}" for number in range(count)]
    put(client, "tasks", *(job(name) for name in names))
    holder = client.store.holder()
    found = holder.receive(["tasks"], limit=count, wait=5).deliveries
    assert holder.settle([reject(each) for each in found]) == []
    holder.close()
    assert len(found) == count
    return names


def ids_of(client: RabbitMQClient, limit: int = 10_000, after: str | None = None) -> list[str]:
    return [each.job_id for each in client.dead_letters("tasks", limit, after)]


@pytest.mark.parametrize("size", [1, AT_ONCE, AT_ONCE + 1, MANY])
def test_pages_show_each_letter_once_and_in_order(client: RabbitMQClient, size: int) -> None:
    names = bury(client, MANY if size > 1 else 3)
    seen: list[str] = []

    while page := ids_of(client, size, seen[-1] if seen else None):
        assert len(page) <= size
        seen += page

    assert seen == names


def test_a_page_after_a_letter_that_is_gone_is_the_first(client: RabbitMQClient) -> None:
    names = bury(client, 5)
    client.discard_dead_letters("tasks", names[1])

    assert ids_of(client, 2, names[1]) == [names[0], names[2]]


def test_looking_again_and_again_changes_no_order_and_no_letter(client: RabbitMQClient) -> None:
    names = bury(client, 20)
    first = client.dead_letters("tasks")

    for limit in (1, 3, 100):
        ids_of(client, limit)

    assert client.dead_letters("tasks") == first
    assert [each.job_id for each in first] == names
    eventually(lambda: client.queue_stats("tasks").dead == 20)


def test_clients_that_look_at_once_see_all(opened: Callable[..., RabbitMQClient]) -> None:
    names = bury(opened(), AT_ONCE + 20)
    clients = [opened() for _ in range(3)]

    looks = [Background(partial(ids_of, client)) for client in clients * 3]

    for each in looks:
        assert each.result(within=60) == names


def test_some_are_requeued_and_some_discarded(client: RabbitMQClient) -> None:
    names = bury(client, MANY)

    assert client.requeue_dead_letters("tasks", [names[3], names[-1], "nobody"]) == 2
    assert client.discard_dead_letters("tasks", names[0]) == 1
    assert client.requeue_dead_letters("tasks", []) == 0

    gone = {names[0], names[3], names[-1]}
    assert ids_of(client) == [name for name in names if name not in gone]
    found = client.store.holder().receive(["tasks"], limit=5, wait=5).deliveries
    assert [(each.id, each.attempts, each.lost) for each in found] == [
        (names[3], 0, 0),
        (names[-1], 0, 0),
    ]
    assert all(each.delivery > 1 for each in found)
    assert client.discard_dead_letters("tasks") == MANY - 3
    assert ids_of(client) == []


DYING = """
import os, signal, sys
from mindtrace.jobs import RabbitMQClient
from mindtrace.jobs_rabbitmq.dead import Letters
client = RabbitMQClient.from_url(sys.argv[1])
found = Letters.read
def read(self, *args):
    found(self, *args)
    os.kill(os.getpid(), signal.SIGKILL)
Letters.read = read
client.dead_letters("tasks")
"""


@pytest.mark.process
def test_whoever_dies_while_looking_gives_all_back(client: RabbitMQClient, url: str) -> None:
    names = bury(client, 5)

    done = subprocess.run(
        [sys.executable, "-c", DYING, url], timeout=60, check=False, capture_output=True
    )

    assert done.returncode == -9
    assert ids_of(client) == names
    letters = client.dead_letters("tasks")
    assert [(each.lost, each.attempts) for each in letters] == [(0, 1)] * 5
