"""The table of states and transitions is the one that the local store's schema has."""

from __future__ import annotations

import itertools
import re
import sqlite3
from importlib import resources

import pytest

from mindtrace.jobs.lifecycle import TRANSITIONS, UNFINISHED, JobState, allowed

SCHEMA = resources.files("mindtrace.jobs.local").joinpath("schema.sql").read_text("utf-8")
INSERT_JOB = (
    "insert into jobs (queue, state, rank, id, body, priority, published_at) "
    "values (1, ?, 0, ?, '', 0, 0)"
)
INSERT_OUTCOME = "insert into outcomes (seq, queue, state, finished_at) values (?, 1, ?, 0)"


def accepts(statement: str, *values: object) -> bool:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    try:
        connection.execute(statement, values)
    except sqlite3.IntegrityError:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.parametrize("state", range(-1, 8))
def test_the_schema_takes_the_states_of_the_table_and_no_others(state: int) -> None:
    known = state in set(JobState)

    assert accepts(INSERT_JOB, state, "one") is known


@pytest.mark.parametrize("state", range(-1, 8))
def test_outcomes_are_of_finished_states_only(state: int) -> None:
    finished = state in set(JobState) and JobState(state) not in UNFINISHED

    assert accepts(INSERT_OUTCOME, 1, state) is finished


def test_the_comment_of_the_schema_names_each_state_with_its_number() -> None:
    (line,) = re.findall(r"`state` is JobState: (.*)\.", SCHEMA)

    named = {int(number): name for number, name in re.findall(r"(\d) (\w+)", line)}

    assert named == {state.value: state.name.lower() for state in JobState}


def test_the_partial_indexes_are_of_the_states_they_are_named_after() -> None:
    named = dict(re.findall(r"create index (\w+) on \w+ \(.*\) where state = (\d)", SCHEMA))

    assert named == {
        "ready": str(JobState.READY.value),
        "delayed": str(JobState.DELAYED.value),
        "leased": str(JobState.LEASED.value),
        "dead": str(JobState.DEAD.value),
    }


def test_every_state_can_be_reached_and_left() -> None:
    for state in JobState:
        assert any(each.target == state for each in TRANSITIONS)
        assert any(each.source == state for each in TRANSITIONS)


def test_no_transition_stands_there_twice() -> None:
    assert len(set(TRANSITIONS)) == len(TRANSITIONS)


@pytest.mark.parametrize(("source", "target"), list(itertools.product([None, *JobState], repeat=2)))
def test_a_way_is_allowed_exactly_if_the_table_has_it(
    source: JobState | None, target: JobState | None
) -> None:
    ways = {(each.source, each.target) for each in TRANSITIONS}

    assert allowed(source, target) is ((source, target) in ways)


def test_a_finished_job_never_runs_again_but_for_a_requeue() -> None:
    back = {
        each.cause
        for each in TRANSITIONS
        if each.source is not None and each.source not in UNFINISHED and each.target in UNFINISHED
    }

    assert back == {"requeue"}
