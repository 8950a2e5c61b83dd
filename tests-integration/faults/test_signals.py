"""SIGTERM and SIGINT: the job in hand is finished, the others are given back."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from crew import Crew
from orders import Mode

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually, pause

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT]
BOTH = pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda each: each.name)
MODES: list[Mode] = ["plain", "threads", "async"]
PROMPT = 5.0
"""Seconds that stand for "at once" on a shared, loaded machine."""


@pytest.fixture
def gate(crew: Crew) -> Path:
    crew.orchestrator.declare_queue("work", keep_result=True)
    return crew.folder.with_name("gate")


def publish(crew: Crew, *payloads: dict[str, Any]) -> list[str]:
    return crew.orchestrator.publish_many(
        "work", [Job(name="work", payload=each) for each in payloads]
    )


def record(crew: Crew, job_id: str) -> tuple[str, int, int]:
    found = crew.orchestrator.backend.store.record(job_id)
    assert found is not None
    return found.state.name, found.delivery, found.lost


@BOTH
def test_the_job_in_hand_is_finished_and_the_others_are_released(
    crew: Crew, gate: Path, number: signal.Signals
) -> None:
    ids = publish(crew, *[{"do": "gate", "gate": str(gate)}] * 10)
    worker = crew.consumer(prefetch=10, own_handlers=True)
    worker.wait_for("begin")

    worker.send(number)
    worker.wait_for("woken")
    eventually(lambda: crew.orchestrator.queue_stats("work").ready == 9, what="the release")
    assert worker.code is None, "the signal ended the job in hand"
    gate.touch()

    assert worker.ended() == 0
    (returned,) = worker.lines("returned")
    assert returned.facts == {"handled": 1, "restored": True}
    assert len(worker.lines("begin")) == 1
    assert record(crew, ids[0]) == ("COMPLETED", 1, 0)
    for job_id in ids[1:]:
        state, _, lost = record(crew, job_id)
        assert (state, lost) == ("READY", 0)


def test_unstarted_jobs_are_released_by_the_stop_itself(crew: Crew, gate: Path) -> None:
    """The handler sends the signal and ends at once, so the watch had no time to give them back."""
    ids = publish(crew, {"do": "signal", "times": 1}, *[{"do": "work", "seconds": 0.0}] * 9)
    worker = crew.consumer(prefetch=10)

    assert worker.ended() == 0

    assert worker.lines("received")[0].facts["together"] == 10
    assert [each.job for each in worker.lines("begin")] == ids[:1]
    verdicts = [each.facts["verdict"] for each in worker.lines("settled")]
    assert sorted(verdicts) == ["ack"] + ["release"] * 9
    assert [record(crew, job_id) for job_id in ids[1:]] == [("READY", 1, 0)] * 9


@pytest.mark.parametrize("mode", MODES[1:])
def test_all_jobs_in_hand_of_threads_and_tasks_are_finished(
    crew: Crew, gate: Path, mode: Mode
) -> None:
    job = {"do": "gate", "gate": str(gate)}
    ids = publish(crew, *[job] * 12)
    worker = crew.consumer(mode=mode)
    worker.wait_for("begin", 4)

    worker.send(signal.SIGTERM)
    worker.wait_for("woken")
    gate.touch()

    assert worker.ended() == 0
    (returned,) = worker.lines("returned")
    begun = {each.job for each in worker.lines("begin")}
    assert returned.facts["handled"] == len(begun) == 4
    for job_id in ids:
        state, _, lost = record(crew, job_id)
        assert (state, lost) == ("COMPLETED" if job_id in begun else "READY", 0)


@pytest.mark.parametrize("mode", MODES)
@BOTH
def test_a_second_signal_ends_at_once_and_the_job_runs_again(
    crew: Crew, gate: Path, number: signal.Signals, mode: Mode
) -> None:
    job = {"do": "gate", "gate": str(gate)}
    (job_id,) = publish(crew, job)
    worker = crew.consumer(mode=mode, own_handlers=True)
    worker.wait_for("begin")
    if mode == "threads":
        eventually(lambda: worker.blocking == 3, what="the other threads to be there")

    worker.send(number)
    worker.wait_for("woken")
    assert worker.code is None
    sent_at = time.monotonic()
    worker.send(number)
    returned = worker.wait_for("returned")

    assert returned.at - sent_at < PROMPT
    assert returned.facts["restored"]
    # A thread that was just woken may take the job once more, and gives it back unseen: such a
    # delivery counts, and nothing is lost by it.
    state, _, lost = record(crew, job_id)
    assert (state, lost) == ("READY", 1)
    assert worker.ended(within=PROMPT) == 0
    gate.touch()
    heir = crew.consumer(until_empty=True)
    assert heir.ended() == 0
    state, _, lost = record(crew, job_id)
    assert (state, lost) == ("COMPLETED", 1)


def test_a_second_signal_while_threads_are_started_ends_at_once_too(crew: Crew, gate: Path) -> None:
    job = {"do": "signal", "times": 2, "gate": str(gate)}
    (job_id,) = publish(crew, job)
    worker = crew.consumer(mode="threads", concurrency=150, linger=True)
    worker.wait_for("returned")
    begun = worker.lines("begin")

    def is_lost() -> bool:
        state, _, lost = record(crew, job_id)  # a thread may have taken it once more, as above
        return (state, lost) == ("READY", 1)

    eventually(is_lost, what="the job in hand to be lost")

    assert len(begun) == 1
    assert worker.code is None


def test_two_signals_at_any_moment_leave_nothing_held_and_the_handlers_restored(
    crew: Crew, gate: Path
) -> None:
    """The second one may meet the consumer while it settles, releases or puts things away."""
    draw = random.Random(11)
    rounds = 50
    hit = 0
    for _ in range(rounds):
        publish(crew, *[{"do": "work", "seconds": 0.0}] * 40)
        worker = crew.consumer(own_handlers=True, linger=True, prefetch=20)
        worker.wait_for("effect", draw.randint(1, 30))
        worker.send(signal.SIGTERM)
        pause(draw.uniform(0.0, 0.004))
        worker.send(signal.SIGTERM)
        returned = worker.wait_for("returned")

        assert returned.facts["restored"]
        stats = crew.orchestrator.queue_stats("work")
        assert stats.leased == 0, f"held after consume() returned: {stats}\n{crew.story()}"
        hit += any("second stop signal" in each.facts["text"] for each in worker.lines("log"))
        worker.kill()
        crew.orchestrator.clean_queue("work")
    assert hit > 0, "no second signal came before consume() had returned"


@pytest.mark.parametrize("mode", MODES)
@BOTH
def test_an_idle_consumer_returns_promptly(
    crew: Crew, gate: Path, number: signal.Signals, mode: Mode
) -> None:
    publish(crew, {"do": "work", "seconds": 0.0})
    worker = crew.consumer(mode=mode)
    worker.wait_for("effect")
    eventually(lambda: crew.orchestrator.queue_stats("work").leased == 0)

    sent_at = time.monotonic()
    worker.send(number)
    returned = worker.wait_for("returned")

    assert returned.at - sent_at < PROMPT
    assert worker.ended() == 0


def test_a_consumer_in_another_thread_leaves_signals_alone(crew: Crew, gate: Path) -> None:
    ids = publish(crew, {"do": "signal handlers"}, {"do": "gate", "gate": str(gate)})
    worker = crew.consumer(in_thread=True)
    worker.wait_for("begin", 2)
    assert worker.wait_for("handlers").facts["untouched"]

    worker.send(signal.SIGTERM)

    assert worker.ended() == -signal.SIGTERM, "SIGTERM does what it does without a handler"
    gate.touch()
    assert crew.consumer(until_empty=True).ended() == 0
    assert record(crew, ids[1]) == ("COMPLETED", 2, 1)


def test_a_signal_during_a_storm_of_short_jobs_loses_none(crew: Crew, gate: Path) -> None:
    ids = publish(crew, *[{"do": "work", "seconds": 0.005}] * 600)
    stopped = 0
    while ready := crew.orchestrator.queue_stats("work").ready:
        worker = crew.consumer()
        worker.wait_for("effect", min(ready, 40 + 7 * stopped))
        worker.send(signal.SIGTERM)
        assert worker.ended() == 0
        stopped += 1

    assert stopped > 1, "no signal came in the middle"
    effects = [each.job for each in crew.journal.lines("effect")]
    assert sorted(effects) == sorted(ids)
    assert {record(crew, job_id)[2] for job_id in ids} == {0}
