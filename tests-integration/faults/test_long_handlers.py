"""Handlers that take longer than RabbitMQ's heartbeat, and longer than it waits for a consumer."""

import pytest
import verdict
from crew import Crew
from orders import Orders
from places import CONSUMER_TIMEOUT, RABBITMQ, STRICT

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually, pause

HEARTBEAT = 2


def publish(crew: Crew, **payload: object) -> str:
    return crew.orchestrator.publish("work", Job(name="work", payload=payload))


@pytest.mark.parametrize("crew", [RABBITMQ], indirect=True)
@pytest.mark.parametrize("action", ["block", "compute"])
def test_heartbeats_go_on_while_a_handler_sleeps_or_computes(crew: Crew, action: str) -> None:
    crew.declare()
    place = crew.place.said(heartbeat=HEARTBEAT)
    busy = crew.start(Orders(role="consume", place=place))
    job_id = publish(crew, do=action, seconds=4.0 * HEARTBEAT)
    busy.wait_for("begin")
    idle = crew.consumer()

    busy.wait_for("effect", within=60.0)
    publish(crew, do="work", seconds=0.0)  # its fetch settles the first one

    eventually(lambda: crew.journal.count("effect") == 2)
    assert busy.lines("held")[0].facts["seconds"] > 3 * HEARTBEAT
    assert [each.job for each in crew.journal.lines("begin")].count(job_id) == 1
    assert crew.journal.count("refused") == 0
    assert busy.lines("log") == idle.lines("log") == []


@pytest.mark.parametrize("crew", [RABBITMQ], indirect=True)
def test_a_call_that_holds_the_interpreter_for_some_heartbeats_loses_its_job(crew: Crew) -> None:
    """Documented: no heartbeat can go out. The job runs again, and the first outcome is refused."""
    crew.declare()
    busy = crew.start(Orders(role="consume", place=crew.place.said(heartbeat=1)))
    job_id = publish(crew, do="hold interpreter", once=True, seconds=9.0)
    busy.wait_for("begin")
    heir = crew.consumer()

    again = heir.wait_for("effect", within=40.0)
    busy.wait_for("effect", within=90.0)  # its seconds are those of a processor that others use
    others: list[str] = []

    def hears() -> bool:
        """It hears of that with its next job."""
        others.extend(publish(crew, do="work", seconds=0.01) for _ in range(10))
        pause(0.1)
        return bool(busy.lines("refused"))

    eventually(hears, within=40.0, what="the refusal")
    verdict.come_to_rest(crew, [job_id, *others])

    assert (again.job, again.delivery) == (job_id, 2)
    assert busy.lines("held")[0].facts["seconds"] > 3.0, "it did not hold the interpreter"
    assert [each.job for each in busy.lines("refused")] == [job_id]
    verdict.check(crew, [job_id, *others])


@pytest.mark.parametrize("crew", [STRICT], indirect=True)
def test_a_job_longer_than_the_consumer_timeout_is_told_and_runs_again(crew: Crew) -> None:
    crew.declare()
    job_id = publish(crew, do="work", once=True, seconds=CONSUMER_TIMEOUT + 4.0)
    worker = crew.consumer()
    first = worker.wait_for("begin")

    second = worker.wait_for("begin", 2, within=30.0)
    publish(crew, do="work", seconds=0.0)  # and it goes on with others
    worker.wait_for("effect", 3, within=20.0)

    assert (first.job, first.delivery) == (second.job, second.delivery - 1) == (job_id, 1)
    told = [each.facts["text"] for each in worker.lines("log")]
    assert [each for each in told if "consumer_timeout" in each and "runs" in each], told
    assert [each.job for each in worker.lines("refused")] == [job_id]
    verdict.dismiss(crew)
    assert crew.orchestrator.queue_stats("work").ready == 0
