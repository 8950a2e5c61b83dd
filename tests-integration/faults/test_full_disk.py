"""A disk without a single free byte: nothing is lost, and work goes on once there is room."""

import signal

import pytest
from crew import Crew
from mounts import SmallDisk
from orders import Orders

from mindtrace.jobs import BackendUnavailableError, Job, LocalClient, Orchestrator
from mindtrace.jobs.testing.waiting import eventually

JOBS = 20


def test_a_consumer_waits_for_room_and_loses_nothing(crew: Crew, small_disk: SmallDisk) -> None:
    crew.folder = small_disk.path / "jobs"
    gate = crew.journal.path.with_name("gate")
    orchestrator = Orchestrator(LocalClient(crew.folder))
    orchestrator.declare_queue("work", keep_result=True)
    payloads = [{"do": "gate", "gate": str(gate)}, *[{"do": "work", "seconds": 0.0}] * (JOBS - 1)]
    ids = orchestrator.publish_many("work", [Job(name="work", payload=each) for each in payloads])
    consumer = crew.consumer(prefetch=1)  # it gives nothing back, which would be a delivery more
    consumer.wait_for("begin")

    small_disk.fill()
    with pytest.raises(BackendUnavailableError, match="disk is full; free some space") as caught:
        orchestrator.publish("work", Job(name="work", payload="x" * 50_000))
    assert caught.value.transient
    gate.touch()
    consumer.wait_for("effect")
    away = consumer.wait_for("away", 3)  # it tried again, and again
    assert "disk is full" in away.facts["reason"]
    assert orchestrator.handle(ids[0]).status == "running"
    assert orchestrator.queue_stats("work").ready == JOBS - 1
    told = [each.facts["text"] for each in consumer.lines("log")]
    assert len(told) == 1, f"one line for one change of state: {told}"
    assert "Waiting for it to come back" in told[0]

    small_disk.release()
    eventually(
        lambda: {orchestrator.handle(each).status for each in ids} == {"completed"}, within=20
    )
    assert crew.journal.count("effect") == JOBS, "none ran twice"
    records = [orchestrator.backend.store.record(each) for each in ids]
    assert {(each.delivery, each.lost) for each in records if each} == {(1, 0)}
    orchestrator.publish("work", Job(name="work", payload={"do": "work", "seconds": 0.0}))
    consumer.wait_for("effect", JOBS + 1)
    consumer.send(signal.SIGTERM)
    assert consumer.ended() == 0
    orchestrator.close()


def test_a_stop_on_a_full_disk_ends_and_the_job_in_hand_comes_back(
    crew: Crew, small_disk: SmallDisk
) -> None:
    crew.folder = small_disk.path / "jobs"
    gate = crew.journal.path.with_name("gate")
    orchestrator = Orchestrator(LocalClient(crew.folder))
    orchestrator.declare_queue("work", keep_result=True)
    (job_id,) = orchestrator.publish_many(
        "work", [Job(name="work", payload={"do": "gate", "gate": str(gate)})]
    )
    consumer = crew.consumer()
    consumer.wait_for("begin")

    small_disk.fill()
    gate.touch()
    consumer.wait_for("away", 2)
    consumer.send(signal.SIGTERM)
    code = consumer.ended(within=20)

    assert code == 0, crew.story()
    small_disk.release()
    assert crew.consumer(until_empty=True).ended() == 0
    record = orchestrator.backend.store.record(job_id)
    assert record is not None
    assert (record.state.name, record.delivery, record.lost) == ("COMPLETED", 2, 1)
    orchestrator.close()


@pytest.mark.parametrize("folder", ["brand-new", "used before", "open elsewhere"])
def test_opening_on_a_full_disk_is_an_error_and_never_a_bus_error(
    crew: Crew, small_disk: SmallDisk, folder: str
) -> None:
    crew.folder = small_disk.path / "jobs"
    publisher = Orchestrator(LocalClient(crew.folder))
    if folder != "brand-new":
        publisher.declare_queue("work")
    if folder == "used before":
        publisher.publish("work", Job(name="work", payload={"do": "work", "seconds": 0.0}))
    if folder != "open elsewhere":
        publisher.close()
    small_disk.fill()

    with pytest.raises(BackendUnavailableError, match="free some space"):
        _publish_much(Orchestrator(LocalClient(crew.folder)))
    codes = [_start(crew) for _ in range(3)]

    assert set(codes) <= {None, 3}, f"{codes} {crew.story()}"
    for line in crew.journal.lines("error"):
        assert "space" in line.facts["text"], line
    small_disk.release()
    orchestrator = Orchestrator(LocalClient(crew.folder))
    orchestrator.declare_queue("work")
    payload = {"do": "work", "seconds": 0.0}
    published = orchestrator.publish("work", Job(name="work", payload=payload))
    crew.consumer()
    eventually(lambda: _is_empty(orchestrator), within=20)
    done = [each.job for each in crew.journal.lines("effect")]
    assert published in done
    assert len(done) == len(set(done)) == (2 if folder == "used before" else 1)
    publisher.close()
    orchestrator.close()


def _publish_much(orchestrator: Orchestrator) -> None:
    orchestrator.declare_queue("work")
    orchestrator.publish("work", Job(name="work", payload="x" * 100_000))


def _is_empty(orchestrator: Orchestrator) -> bool:
    stats = orchestrator.queue_stats("work")
    return stats.ready + stats.delayed + stats.leased == 0


def _start(crew: Crew) -> int | None:
    """Start a consumer, and return its exit code, or None if it consumes."""
    worker = crew.start(Orders(role="consume"))
    eventually(lambda: worker.code is not None or worker.lines("ready"))
    if worker.code is None:  # it blocks for jobs, or says that it waits for room
        eventually(lambda: worker.code is not None or worker.blocking or worker.lines("log"))
    return worker.code
