"""A job that always kills its process, and the innocent ones around it."""

import signal
from collections.abc import Sequence

import pytest
from crew import Crew

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually

MAX_DELIVERIES = 5
WORK = {"do": "work", "seconds": 0.0}


def publish(crew: Crew, payloads: Sequence[object], **options: object) -> list[str]:
    jobs = [Job(name="work", payload=payload) for payload in payloads]
    return crew.orchestrator.publish_many("work", jobs, **options)


@pytest.mark.parametrize("prefetch", [None, 10])
def test_a_job_that_always_kills_its_process_is_poison_and_drags_no_other_along(
    crew: Crew, prefetch: int | None
) -> None:
    crew.orchestrator.declare_queue("work", max_deliveries=MAX_DELIVERIES)
    payloads = [WORK] * 3 + [{"do": "die"}] + [WORK] * 16
    ids = publish(crew, payloads, keep_result=True)
    poison = ids.pop(3)

    deaths = 0
    while (worker := crew.consumer(until_empty=True, prefetch=prefetch)).ended() != 0:
        assert worker.code == -signal.SIGKILL, crew.story()
        deaths += 1
        assert deaths <= MAX_DELIVERIES, crew.story()

    # the fault hit: each death happened inside the handler of the poison job
    begins = [each for each in crew.journal.lines("begin") if each.job == poison]
    assert deaths == MAX_DELIVERIES
    assert [each.facts["lost"] for each in begins] == list(range(MAX_DELIVERIES))
    numbers = [each.delivery for each in begins]  # those of a busy machine have gaps: given back
    assert numbers == sorted(set(numbers))
    (letter,) = crew.orchestrator.dead_letters("work")
    assert (letter.job_id, letter.reason) == (poison, "poison")
    assert (letter.lost, letter.attempts) == (MAX_DELIVERIES, 0)
    # its batch fell with it once; from then on it came alone
    alone = {
        each.job: each.facts["together"]
        for each in crew.journal.lines("received")
        if each.facts["lost"]
    }
    assert alone[poison] == 1
    assert set(alone.values()) == {1}
    for job_id in ids:
        record = crew.orchestrator.backend.store.record(job_id)
        assert record is not None
        assert record.state.name == "COMPLETED"
        assert record.lost <= 1
    # one that was done before the death, but not settled yet, may run a second time; none a third
    effects = [each.job for each in crew.journal.lines("effect")]
    assert max(effects.count(job_id) for job_id in ids) <= 2
    stats = crew.orchestrator.queue_stats("work")
    assert (stats.ready, stats.delayed, stats.leased, stats.dead) == (0, 0, 0, 1)


def test_a_requeued_poison_job_gets_fresh_counters_and_a_higher_delivery_number(
    crew: Crew,
) -> None:
    crew.orchestrator.declare_queue("work", max_deliveries=1)
    gate = crew.folder.with_name("gate")
    (job_id,) = publish(crew, [{"do": "gate", "gate": str(gate)}], keep_result=True)
    first = crew.consumer()
    first.wait_for("begin")
    first.kill()
    second = crew.consumer()
    eventually(lambda: crew.orchestrator.dead_letters("work"), what="the dead letter")

    crew.orchestrator.requeue_dead_letters("work")
    again = second.wait_for("begin")
    gate.touch()
    eventually(lambda: crew.orchestrator.handle(job_id).status == "completed")

    assert again.delivery == 2
    record = crew.orchestrator.backend.store.record(job_id)
    assert record is not None
    assert (record.lost, record.delivery) == (0, 2)
