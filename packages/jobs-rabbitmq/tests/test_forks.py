"""A forked child makes its own connections and leaves its parent's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rabbitmq_support import run_python

if TYPE_CHECKING:
    from mindtrace.jobs import RabbitMQClient

pytestmark = [pytest.mark.rabbitmq, pytest.mark.process]

START = """
import os, sys, warnings
from mindtrace.jobs import BackendUnavailableError, RabbitMQClient
from mindtrace.jobs.testing.harness import ack, entry
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
client = RabbitMQClient.from_url(sys.argv[1])
store = client.store

def in_child(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
"""

BOTH_WORK = (
    START
    + """
store.publish("tasks", [entry("of the parent")])
holder = store.holder()
(mine,) = holder.receive(["tasks"], limit=1, wait=10).deliveries

def work():
    store.publish("tasks", [entry("of the child")])
    own = store.holder()
    (delivery,) = own.receive(["tasks"], limit=1, wait=10).deliveries
    print("child", delivery.id, delivery.lost, own.settle([ack(delivery)]), flush=True)
    client.close()

in_child(work)
print("parent", mine.id, holder.settle([ack(mine)]), store.publish("tasks", [entry("after")]))
(last,) = holder.receive(["tasks"], limit=1, wait=10).deliveries
print(last.id, last.lost, holder.settle([ack(last)]), client.queue_stats("tasks").ready)
client.close()
"""
)

NOT_THE_PARENTS = (
    START
    + """
store.publish("tasks", [entry("1")])
holder = store.holder()
(mine,) = holder.receive(["tasks"], limit=1, wait=10).deliveries

def work():
    try:
        holder.settle([ack(mine)])
    except BackendUnavailableError as error:
        print(error.reason, flush=True)
    holder.close()
    print(store.holder().settle([ack(mine)]) == [ack(mine)], flush=True)

in_child(work)
print(holder.settle([ack(mine)]))
client.close()
"""
)

LETS_GO = (
    START
    + """
import socket
store.publish("tasks", [entry("1")])
store.holder()

def sockets():
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            continue
        if target.startswith("socket:"):
            with socket.socket(fileno=os.dup(int(each))) as one:
                if one.family in (socket.AF_INET, socket.AF_INET6):
                    found.append(one.getpeername()[1])
    return found

before = len(sockets())
in_child(lambda: print(before, len(sockets()), flush=True))
in_child(lambda: os.execlp("true", "true"))
print(store.publish("tasks", [entry("2")]))
client.close()
"""
)


def test_parent_and_child_both_work_with_the_same_client(client: RabbitMQClient, url: str) -> None:
    client.declare_queue("tasks")

    said, complaints = run_python(BOTH_WORK, url)

    assert said.splitlines() == [
        "child of the child 0 []",
        "parent of the parent [] ['after']",
        "after 0 [] 0",
    ]
    assert complaints == ""


def test_a_child_cannot_settle_for_its_parent(client: RabbitMQClient, url: str) -> None:
    client.declare_queue("tasks")

    said, _ = run_python(NOT_THE_PARENTS, url)

    reason, stale, settled = said.splitlines()
    assert "belongs to the process that forked this one; open a new one" in reason
    assert (stale, settled) == ("True", "[]")
    assert client.count_queue_messages("tasks") == 0


def test_a_child_lets_go_of_the_sockets(client: RabbitMQClient, url: str) -> None:
    client.declare_queue("tasks")

    said, _ = run_python(LETS_GO, url)

    counted, published = said.splitlines()
    assert counted == "2 0"
    assert published == "['2']"
