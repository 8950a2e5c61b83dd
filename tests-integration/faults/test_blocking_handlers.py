"""Handlers that let nothing else of their process run: the lease must hold all the same."""

from pathlib import Path

import pytest
from crew import LEASE, Crew
from orders import Mode
from places import REDIS

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually


@pytest.mark.parametrize(
    "seconds", [3 * LEASE, pytest.param(30.0, marks=pytest.mark.stress)], ids="{:g}s".format
)
@pytest.mark.parametrize("crew", ["local", REDIS], indirect=True)
@pytest.mark.parametrize(
    ("mode", "action"), [("plain", "hold interpreter"), ("async", "block")], ids=["gil", "loop"]
)
def test_a_handler_that_blocks_its_process_keeps_its_job(
    crew: Crew, mode: Mode, action: str, seconds: float
) -> None:
    """C code holds the interpreter's lock, or a plain call blocks the event loop."""
    crew.declare()
    busy = crew.consumer(mode=mode)
    job_id = crew.orchestrator.publish(
        "work", Job(name="work", payload={"do": action, "seconds": seconds})
    )
    busy.wait_for("begin")
    idle = crew.consumer()

    busy.wait_for("effect", within=90.0)
    eventually(lambda: crew.orchestrator.handle(job_id).status == "completed")

    held: float = busy.lines("held")[0].facts["seconds"]
    assert held > max(2 * LEASE, 0.5 * seconds), f"it only blocked for {held:.1f} s"
    record = crew.orchestrator.backend.store.record(job_id)
    assert record is not None
    assert (record.delivery, record.lost) == (1, 0)
    assert idle.lines("received") == []
    assert idle.code is None
    assert Path(f"/proc/{idle.pid}").exists()
