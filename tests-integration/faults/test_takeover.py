"""A consumer dies in a handler; another process takes its jobs over."""

import signal
import sys
import time
from typing import Any

import pytest
from crew import Crew
from orders import Mode

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually

PROMISED = 2.0
"""Seconds within which the jobs of a dead holder are ready again (rule 3, Local)."""

SLACK = 3.0
"""What a shared, loaded machine may add between "ready" and the first line of the handler."""


def publish(crew: Crew, *payloads: dict[str, Any]) -> list[str]:
    return crew.orchestrator.publish_many(
        "work", [Job(name="work", payload=each) for each in payloads]
    )


@pytest.mark.parametrize("mode", ["plain", "threads", "async"])
def test_an_idle_consumer_takes_over_within_two_seconds(crew: Crew, mode: Mode) -> None:
    crew.orchestrator.declare_queue("work", max_deliveries=100)
    gate = crew.folder.with_name("gate")
    publish(crew, {"do": "gate", "gate": str(gate)})
    holder = crew.consumer()
    begun = holder.wait_for("begin")
    waits: list[float] = []

    for round_ in range(2):
        heir = crew.consumer(mode=mode if round_ == 0 else "plain")
        heir.lies_idle()
        died_at = holder.kill()
        taken = heir.wait_for("begin", within=PROMISED + SLACK)
        waits.append(taken.at - died_at)
        assert taken.delivery == begun.delivery + 1
        holder, begun = heir, taken

    sys.stdout.write(f"taken over after {waits} s\n")  # seen with -rP
    assert max(waits) < PROMISED + SLACK, waits
    gate.touch()
    holder.wait_for("effect")
    eventually(lambda: crew.orchestrator.queue_stats("work").leased == 0)
    assert crew.journal.count("effect") == 1


def test_a_busy_consumer_takes_over_between_its_own_jobs(crew: Crew) -> None:
    crew.orchestrator.declare_queue("work", max_deliveries=100)
    crew.orchestrator.declare_queue("short")
    gate = crew.folder.with_name("gate")
    publish(crew, {"do": "gate", "gate": str(gate)})
    holder = crew.consumer()
    holder.wait_for("begin")
    crew.orchestrator.publish_many(
        "short", [Job(name="short", payload={"do": "work", "seconds": 0.02}) for _ in range(300)]
    )
    heir = crew.consumer(queues=("short", "work"))
    heir.wait_for("effect", 5)

    died_at = holder.kill()
    gate.touch()
    eventually(lambda: any(each.delivery == 2 for each in heir.lines("begin")))

    taken = next(each for each in heir.lines("begin") if each.delivery == 2)
    assert taken.at - died_at < PROMISED + SLACK
    assert crew.orchestrator.queue_stats("short").ready > 0, "the heir was not busy"


def test_a_stopped_process_keeps_its_job_for_it_lives(crew: Crew) -> None:
    """SIGSTOP is no death: the kernel keeps the lock, and the job is not run twice."""
    crew.orchestrator.declare_queue("work")
    gate = crew.folder.with_name("gate")
    publish(crew, {"do": "gate", "gate": str(gate)})
    holder = crew.consumer()
    holder.wait_for("begin")
    other = crew.consumer()

    holder.send(signal.SIGSTOP)
    stopped_at = time.monotonic()
    eventually(lambda: time.monotonic() - stopped_at > PROMISED + 1)
    gate.touch()
    holder.send(signal.SIGCONT)

    holder.wait_for("effect")
    eventually(lambda: crew.orchestrator.queue_stats("work").leased == 0)
    assert other.lines("begin") == []


def test_the_last_process_leaves_its_log_behind_and_the_next_one_goes_on(crew: Crew) -> None:
    crew.orchestrator.declare_queue("work", max_deliveries=100)
    gate = crew.folder.with_name("gate")
    quick = {"do": "work", "seconds": 0.0}
    publish(crew, *[quick] * 20, {"do": "gate", "gate": str(gate)}, *[quick] * 20)
    last = crew.consumer()
    eventually(lambda: len(last.lines("begin")) == 21, what="the job at the gate")
    crew.orchestrator.backend.close()  # so that nobody else has the file open

    last.kill()
    assert (crew.folder / "jobs.db-wal").stat().st_size > 0
    assert (crew.folder / "jobs.db-shm").exists()
    # as after a crash of the machine: the log alone is enough
    (crew.folder / "jobs.db-shm").unlink()
    gate.touch()
    crew.consumer(until_empty=True).ended()

    begins = crew.journal.lines("begin")
    assert {each.job for each in begins} == {each.job for each in crew.journal.lines("effect")}
    assert len({each.job for each in begins}) == 41
    hit = [each for each in begins if each.delivery == 2]
    assert hit, "the kill hit no running job"
