"""Any text names a job queue, and no two queues of the broker are ever the same one."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindtrace.jobs_rabbitmq.names import LONGEST, Names, directory, lock

PIECES = st.lists(
    st.sampled_from(
        [
            *("a", ":", ".", ".dead", ".lost", ".lock", ".delay.50", ".doomed.1", ".jobs"),
            *("amq.", "mindtrace.queues"),
        ]
    ),
    min_size=1,
    max_size=4,
).map("".join)
NAMESPACES = st.sampled_from(["", "a", "team", "b.dead"])


def all_of(namespace: str, queue: str) -> set[str]:
    """Return what there may be in the broker for one queue."""
    names = Names.of(namespace, queue)
    mine = {names.main, names.lost, names.dead, names.delay(50), names.doomed(1)}
    return mine | {lock(names.dead)}


def own_of(namespace: str) -> set[str]:
    return {directory(namespace), lock(directory(namespace))}


def test_a_queue_is_called_in_the_broker_as_it_is_called() -> None:
    names = Names.of("", "images")

    assert names.main == "images"
    assert (names.lost, names.dead) == ("images.lost", "images.dead")
    assert (names.delay(500), names.doomed(50)) == ("images.delay.500", "images.doomed.50")


def test_a_namespace_stands_before_it() -> None:
    assert Names.of("team", "images").main == "team:images"
    assert Names.of("team", "images").dead == "team:images.dead"
    assert Names.of("team", "a:b").main == "team:a:b"


@pytest.mark.parametrize(
    ("queue", "main"),
    [
        ("images.dead", "images.dead.jobs"),
        ("images.dead.jobs", "images.dead.jobs.jobs"),
        ("images.delay.50", "images.delay.50.jobs"),
        ("images.delayed", "images.delayed"),
        ("mindtrace.queues", "mindtrace.queues.jobs"),
        ("team:images", ":team:images"),
        (":images", "::images"),
        ("amq.gen", ":amq.gen"),
    ],
)
def test_what_could_be_mistaken_is_called_otherwise(queue: str, main: str) -> None:
    assert Names.of("", queue).main == main


@given(st.sets(st.tuples(NAMESPACES, PIECES), min_size=2, max_size=6))
def test_no_two_queues_share_a_name(queues: set[tuple[str, str]]) -> None:
    for one, other in combinations(queues, 2):
        assert not all_of(*one) & all_of(*other)
    for namespace in ("", "a", "team", "b.dead"):
        for queue in queues:
            assert not own_of(namespace) & all_of(*queue)


@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_a_name_that_amqp_cannot_hold_is_refused(letter: str) -> None:
    size = len(letter.encode())
    fits = letter * ((LONGEST - 22) // size - 3)

    assert len(Names.of("n", fits).doomed(99999999999999).encode()) <= LONGEST
    with pytest.raises(ValueError, match=r"at most 233 bytes together with its namespace; this"):
        Names.of("n", fits + letter * 4)
