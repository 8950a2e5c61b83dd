"""A holder that is cut off loses its job to another one, and what it says later is refused."""

import time

import pytest
import verdict
from crew import Crew, Worker
from orders import Orders
from places import LEDGER, RABBITMQ, REDIS
from proxy import FaultProxy

from mindtrace.jobs import Job
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.waiting import eventually, pause

NOTICED_WITHIN = 20.0
"""Seconds until the server has given up on a client: a lease, or some heartbeats, and slack."""


def consumer_behind(crew: Crew, proxy: FaultProxy) -> Worker:
    place = crew.place.through(proxy.port)
    if place.backend == "rabbitmq":
        place = place.said(heartbeat=2)
    worker = crew.start(Orders(role="consume", place=place))
    worker.wait_for("ready")
    return worker


@pytest.mark.parametrize("crew", [REDIS, RABBITMQ], indirect=True)
def test_a_late_settle_of_a_holder_that_was_cut_off_is_refused(crew: Crew) -> None:
    crew.declare()
    gate = crew.gate()
    job_id = crew.orchestrator.publish(
        "work", Job(name="work", payload={"do": "gate", "gate": str(gate)})
    )
    with FaultProxy("127.0.0.1", crew.server.port) as proxy:
        far = consumer_behind(crew, proxy)
        first = far.wait_for("begin")
        near = crew.consumer()

        proxy.silent = True
        hit_at = time.monotonic()
        second = near.wait_for("begin", within=NOTICED_WITHIN)
        proxy.silent = False
        gate.touch()
        near.wait_for("effect")
        far.wait_for("effect")

        # it works again by itself, and hears with the next job what became of this one
        ids: list[str] = []

        def hears() -> bool:
            jobs = [quick(len(ids) + number) for number in range(20)]
            ids.extend(crew.orchestrator.publish_many("work", jobs))
            pause(0.1)
            return bool(far.lines("refused"))

        eventually(hears, within=NOTICED_WITHIN, what="the refusal")
        verdict.come_to_rest(crew, [job_id, *ids])

    assert first.at < hit_at < second.at, "the fault hit no running job"
    assert (first.delivery, second.delivery) == (1, 2)
    assert [each.job for each in far.lines("refused")] == [job_id]
    assert any("StaleDeliveryError" in each.facts["text"] for each in far.lines("log"))
    assert near.lines("refused") == []
    assert len([each for each in near.lines("settled") if each.job == job_id]) == 1
    assert far.lines("settled"), "it did not come back"
    verdict.check(crew, [job_id, *ids])
    if crew.knows_jobs:
        record = crew.orchestrator.backend.store.record(job_id)
        assert record is not None
        assert (record.delivery, record.lost) == (2, 1)


@pytest.mark.parametrize("crew", [LEDGER], indirect=True)
def test_a_holder_that_is_cut_off_from_the_broker_alone_keeps_its_job(crew: Crew) -> None:
    """The ledger, which it still reaches, knows that it lives: nobody else runs the job."""
    crew.declare()
    gate = crew.gate()
    job_id = crew.orchestrator.publish(
        "work", Job(name="work", payload={"do": "gate", "gate": str(gate)})
    )
    with FaultProxy("127.0.0.1", crew.server.port) as proxy:
        far = consumer_behind(crew, proxy)
        far.wait_for("begin")
        near = crew.consumer()

        proxy.silent = True
        pause(NOTICED_WITHIN / 2)  # the broker gave the turn to the other one long before
        ids = crew.orchestrator.publish_many("work", [quick(number) for number in range(20)])
        near.wait_for("effect", count=len(ids), within=NOTICED_WITHIN)
        gate.touch()
        far.wait_for("effect")
        proxy.silent = False
        verdict.come_to_rest(crew, [job_id, *ids])

    assert [each.job for each in near.lines("begin") if each.job == job_id] == []
    assert crew.journal.lines("refused") == []
    record = crew.orchestrator.backend.store.record(job_id)
    assert record is not None
    assert (record.state, record.delivery, record.lost) == (JobState.COMPLETED, 1, 0)
    verdict.check(crew, [job_id, *ids])


def quick(number: int) -> Job:
    return Job(name="work", payload={"do": "work", "seconds": 0.02 * (number % 3)})
