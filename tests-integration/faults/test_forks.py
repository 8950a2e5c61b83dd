"""Handlers that fork: a child neither keeps its dead parent's lease nor gives up a living one's."""

from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Worker

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually, pause

TAKEOVER = 3.0
"""Seconds within which a job would be taken over: the promised two, and one to spare."""

TAKEN_WITHIN = 10.0
"""Seconds that it may take on a loaded machine."""


@pytest.fixture
def gate(crew: Crew) -> Path:
    crew.orchestrator.declare_queue("work", max_deliveries=100, keep_result=True)
    crew.orchestrator.declare_queue("other")
    return crew.folder.with_name("gate")


def publish(crew: Crew, payload: dict[str, Any]) -> str:
    return crew.orchestrator.publish("work", Job(name="work", payload=payload))


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing", "subprocess"])
def test_a_child_that_lives_on_does_not_keep_the_lease_of_a_killed_consumer(
    crew: Crew, gate: Path, how: str
) -> None:
    job_id = publish(crew, {"do": "leave child", "how": how, "gate": str(gate)})
    holder = crew.consumer()
    child = holder.wait_for("child").facts["pid"]
    heir = crew.consumer()
    heir.lies_idle()

    died_at = holder.kill()
    taken = heir.wait_for("begin", within=TAKEN_WITHIN)

    assert Path(f"/proc/{child}").exists(), "the child was to live on"
    assert taken.at - died_at < TAKEN_WITHIN
    gate.touch()
    eventually(lambda: crew.orchestrator.handle(job_id).status == "completed")
    record = crew.orchestrator.backend.store.record(job_id)
    assert record is not None
    assert (record.delivery, record.lost) == (2, 1)


@pytest.mark.parametrize(
    "how",
    [
        "exits",
        "closes",
        "closes all files",
        "publishes",
        "takes",
        "takes as its parent did",
        "raises SystemExit",
    ],
)
def test_a_child_that_ends_does_not_give_up_the_lease_of_its_living_parent(
    crew: Crew, gate: Path, how: str
) -> None:
    job_id = publish(crew, {"do": "let child end", "how": how, "gate": str(gate)})
    holder = crew.consumer()
    if how.startswith("takes"):
        holder.wait_for("child")
        crew.orchestrator.publish("other", Job(name="other", payload={"for": "the child"}))
    ended = holder.wait_for("child ended")
    idle = crew.consumer()

    wait_for_takeovers(idle)
    gate.touch()
    eventually(lambda: crew.orchestrator.handle(job_id).status == "completed")

    if how != "raises SystemExit":  # which the engine may turn into an error of its own
        assert ended.facts["code"] == 0, crew.story()
    assert idle.lines("received") == []
    assert [each.pid for each in crew.journal.lines("effect")] == [holder.pid]
    assert crew.journal.count("refused") == 0
    record = crew.orchestrator.backend.store.record(job_id)
    assert record is not None
    assert (record.delivery, record.lost, record.attempts) == (1, 0, 0)
    waiting = crew.orchestrator.count_queue_messages("other")
    assert waiting == (1 if how == "publishes" else 0)


def wait_for_takeovers(idle: Worker) -> None:
    """Let the time pass in which an idle consumer would have taken a dead one's job."""
    idle.wait_for("ready")
    pause(TAKEOVER)
