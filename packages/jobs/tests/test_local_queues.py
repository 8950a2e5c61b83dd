"""The small queue objects: push, pop, and what they look like from outside."""

from __future__ import annotations

import threading
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest

from mindtrace.jobs import (
    JobValidationError,
    LocalClient,
    LocalPriorityQueue,
    LocalQueue,
    LocalStack,
)
from mindtrace.jobs.testing.waiting import Background, seconds_of

if TYPE_CHECKING:
    from pathlib import Path

KINDS = pytest.mark.parametrize("kind", [LocalQueue, LocalStack, LocalPriorityQueue])


def popped(queue: LocalQueue) -> list[Any]:
    found: list[Any] = []
    while not queue.empty():
        found.append(queue.pop())
    return found


def test_a_queue_is_first_in_first_out() -> None:
    queue = LocalQueue()
    for item in (1, 2, 3):
        queue.push(item)

    assert popped(queue) == [1, 2, 3]


def test_a_stack_is_last_in_first_out() -> None:
    stack = LocalStack()
    for item in (1, 2, 3):
        stack.push(item)

    assert popped(stack) == [3, 2, 1]


def test_a_priority_queue_gives_the_highest_first_and_ties_in_order() -> None:
    queue = LocalPriorityQueue()
    queue.push("low", priority=-1)
    queue.push("first")
    queue.push("high", 10)
    queue.push("second")

    assert popped(queue) == ["high", "first", "second", "low"]


@KINDS
@pytest.mark.parametrize("item", [None, 0, "", "text", [1, {"x": None}], {"a": 2.5}, True])
def test_any_json_value_comes_back(kind: type[LocalQueue], item: Any) -> None:
    queue = kind()

    queue.push(item)

    assert queue.pop() == item


@KINDS
def test_counting_and_cleaning(kind: type[LocalQueue]) -> None:
    queue = kind()
    before = (queue.qsize(), queue.empty())
    for item in range(3):
        queue.push(item)

    assert before == (0, True)
    assert (queue.qsize(), queue.empty()) == (3, False)
    assert queue.clean() == 3
    assert queue.empty()


@KINDS
def test_an_empty_one_raises_empty(kind: type[LocalQueue]) -> None:
    queue = kind()

    with pytest.raises(Empty):
        queue.pop(block=False)
    with pytest.raises(Empty):
        queue.pop(timeout=0.01)


def test_pop_waits_for_an_item() -> None:
    queue = LocalQueue()
    waiting = Background(queue.pop)

    queue.push("late")

    assert waiting.result() == "late"


def test_pop_waits_no_longer_than_told() -> None:
    queue = LocalQueue()

    def pop() -> None:
        with pytest.raises(Empty):
            queue.pop(block=True, timeout=0.1)

    assert 0.05 < seconds_of(pop) < 2


@pytest.mark.parametrize(
    ("queue", "listed"),
    [
        (LocalQueue(), ["a", "b"]),
        (LocalStack(), ["b", "a"]),
        (
            LocalPriorityQueue(),
            [{"item": "a", "priority": 0}, {"item": "b", "priority": 0}],
        ),
    ],
    ids=["queue", "stack", "priority"],
)
def test_it_lists_its_items_in_the_order_of_popping_and_keeps_them(
    queue: LocalQueue, listed: list[Any]
) -> None:
    queue.push("a")
    queue.push("b")

    assert queue.to_dict() == {"items": listed}
    assert queue.to_dict() == {"items": listed}
    assert queue.qsize() == 2


@KINDS
def test_it_is_made_again_from_what_it_lists(kind: type[LocalQueue]) -> None:
    queue = kind()
    for item in (1, 2, 3):
        queue.push(item)

    again = kind.from_dict(queue.to_dict())

    assert again.to_dict() == queue.to_dict()
    assert popped(again) == popped(queue)


def test_priorities_come_back_too() -> None:
    queue = LocalPriorityQueue()
    queue.push("low", 1)
    queue.push("high", 5)

    again = LocalPriorityQueue.from_dict(queue.to_dict())

    assert again.to_dict() == {
        "items": [{"item": "high", "priority": 5}, {"item": "low", "priority": 1}]
    }


@pytest.mark.parametrize("how", ["held by one that died", "never held"])
def test_it_lists_all_items_whatever_happened_to_one(client: LocalClient, how: str) -> None:
    queue = LocalQueue("items", client)
    for item in range(3):
        queue.push(item)
    if how != "never held":
        holder = client.store.holder()
        holder.receive(["items"], limit=1, wait=0)
        holder.close()

    assert queue.to_dict() == {"items": [0, 1, 2]}


@KINDS
def test_a_value_without_a_json_form_is_refused(kind: type[LocalQueue]) -> None:
    queue = kind()

    with pytest.raises(JobValidationError, match="item"):
        queue.push(object())

    assert queue.empty()


@pytest.mark.parametrize("priority", ["high", 1.5, True])
def test_a_priority_that_is_no_integer_is_refused(priority: Any) -> None:
    queue = LocalPriorityQueue()

    with pytest.raises(ValueError, match="priority takes an integer"):
        queue.push("x", priority)

    assert queue.empty()


def test_each_object_is_a_queue_of_its_own() -> None:
    one, two = LocalQueue(), LocalQueue()

    one.push(1)

    assert two.empty()


def test_objects_of_one_client_and_name_are_one_queue(client: LocalClient) -> None:
    one, two = LocalQueue("shared", client), LocalQueue("shared", client)

    one.push(1)

    assert two.pop() == 1


def test_items_outlive_a_client_with_a_folder(folder: Path) -> None:
    with LocalClient(folder) as client:
        LocalStack("kept", client).push("x")

    with LocalClient(folder) as client:
        assert LocalStack("kept", client).pop() == "x"


@pytest.mark.parametrize("threads", [4])
@KINDS
def test_threads_share_it_and_each_item_comes_once(kind: type[LocalQueue], threads: int) -> None:
    queue = kind()
    pushers = [
        Background(lambda base=base: [queue.push(base * 100 + each) for each in range(25)])
        for base in range(threads)
    ]
    poppers = [
        Background(lambda: [queue.pop(timeout=20) for _ in range(25)]) for _ in range(threads)
    ]

    for pusher in pushers:
        pusher.result()
    found = [item for popper in poppers for item in popper.result(within=30)]

    assert sorted(found) == sorted(
        base * 100 + each for base in range(threads) for each in range(25)
    )
    assert queue.empty()


def test_each_of_several_waiting_threads_is_woken(client: LocalClient) -> None:
    queue = LocalQueue("items", client)
    waiting = [Background(lambda: queue.pop(timeout=20)) for _ in range(3)]
    threading.Event().wait(0.1)

    def serve() -> None:
        for item in range(3):
            queue.push(item)
        assert sorted(each.result() for each in waiting) == [0, 1, 2]

    assert seconds_of(serve) < 0.85  # a thread that nobody wakes looks after a second


def test_looking_hides_nothing_from_a_thread_that_pops() -> None:
    queue = LocalQueue()
    for item in range(200):
        queue.push(item)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            queue.to_dict()

    looking = Background(look)
    try:
        found = [queue.pop(block=False) for _ in range(200)]
    finally:
        done.set()
        looking.result()

    assert found == list(range(200))
