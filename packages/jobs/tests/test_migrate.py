"""Moving a backend's jobs to another one: what arrives, what stays, and what a kill leaves."""

from __future__ import annotations

import logging
import os
import random
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import consumer_of, drain, fail, nothing, start_python
from pydantic import BaseModel

from mindtrace.core import ManualClock
from mindtrace.jobs import (
    DuplicateJobError,
    Job,
    JobSchema,
    LocalClient,
    Orchestrator,
    QueueNotFoundError,
    QueueOptions,
    QueueTypeMismatchError,
    RetryPolicy,
    UnsupportedByBackendError,
    migrate,
)
from mindtrace.jobs.backend import Capabilities, QueueSpec, Settlement
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.local.moving import LocalInlet, LocalOutlet
from mindtrace.jobs.local.store import LocalStore
from mindtrace.jobs.migration import PROBE, Moved
from mindtrace.jobs.testing.harness import entry
from mindtrace.jobs.testing.waiting import eventually, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mindtrace.jobs.backend import StoredJob


class Number(BaseModel):
    """What goes in."""

    n: int = 0


@pytest.fixture
def source() -> Iterator[LocalClient]:
    with LocalClient.in_memory() as client:
        client.declare_queue("jobs")
        yield client


@pytest.fixture
def target() -> Iterator[LocalClient]:
    with LocalClient.in_memory() as client:
        yield client


def publish(client: LocalClient, *ids: str, queue: str = "jobs", **facts: Any) -> None:
    client.store.publish(queue, [entry(each, **facts) for each in ids])


def contents(client: LocalClient, queue: str = "jobs") -> dict[str, StoredJob]:
    """Return all that waits or lies dead, by id; each id is there once."""
    found = client.store.outlet(queue).take(100_000)
    by_id = {job.id: job for job in found}
    assert len(by_id) == len(found)
    return by_id


class Meddling(LocalStore):
    """A store to which something happens just before what was taken is removed."""

    meddle: Callable[[], object] = staticmethod(lambda: None)

    def outlet(self, queue: str) -> LocalOutlet:
        made = super().outlet(queue)
        made.__class__ = MeddlingOutlet
        return made


class MeddlingOutlet(LocalOutlet):
    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        store: Any = self._store
        meddle, store.meddle = store.meddle, lambda: None
        meddle()
        return super().remove(jobs)


def before_removing(client: LocalClient, meddle: Callable[[], object]) -> None:
    store: Any = client.store
    store.__class__ = Meddling
    store.meddle = meddle


def receive(client: LocalClient, queue: str = "jobs") -> Any:
    """Receive one job; return the holder, which must be kept, and the delivery."""
    holder = client.store.holder()
    (delivery,) = holder.receive([queue], limit=1, wait=0).deliveries
    return holder, delivery


# what arrives


def test_all_queues_arrive_with_type_options_and_jobs(
    source: LocalClient, target: LocalClient
) -> None:
    retry = RetryPolicy(max_attempts=4)
    source.declare_queue("urgent", "priority", max_deliveries=2, retry=retry)
    source.declare_queue("pile", "stack")
    publish(source, "a", "b")
    publish(source, "later", delay=1000)
    for job_id, priority in (("low", 1), ("high", 9)):
        publish(source, job_id, queue="urgent", priority=priority)
    publish(source, "bottom", "top", queue="pile")
    drain(Orchestrator(source), "pile", fail)
    publish(source, "under", "over", queue="pile")

    done = migrate(source, target)

    assert sorted(done, key=lambda each: each.queue) == [
        Moved("jobs", ready=2, delayed=1, dead=0, running=0),
        Moved("pile", ready=2, delayed=0, dead=2, running=0),
        Moved("urgent", ready=2, delayed=0, dead=0, running=0),
    ]
    assert target.queues == source.queues == {"jobs": "fifo", "urgent": "priority", "pile": "stack"}
    assert target.store.queues()["urgent"].options == QueueOptions(max_deliveries=2, retry=retry)
    for queue, wanted in (
        ("jobs", ["a", "b"]),
        ("urgent", ["high", "low"]),
        ("pile", ["over", "under"]),
    ):
        assert [each.id for each in target.store.waiting(queue)] == wanted
        assert contents(source, queue) == {}
    assert [each.job_id for each in target.dead_letters("pile")] == ["top", "bottom"]


def test_typed_jobs_run_at_their_new_place(source: LocalClient, target: LocalClient) -> None:
    schema = JobSchema(name="double", input_schema=Number, output_schema=Number)
    before, after = Orchestrator(source), Orchestrator(target)
    before.register(schema)
    handle = before.submit(schema, Number(n=21))

    (done,) = migrate(before, after, "double")
    consumer = consumer_of(after, "double", lambda job: {"n": 2 * job["payload"]["n"]})
    consumer.consume_until_empty()

    assert done.ready == 1
    assert after.handle(handle.id).result(timeout=5) == {"n": 42}


def test_only_the_queues_that_were_named_are_moved(
    source: LocalClient, target: LocalClient
) -> None:
    for queue in ("one", "two"):
        source.declare_queue(queue)
        publish(source, f"in {queue}", queue=queue)
    publish(source, "in jobs")

    done = migrate(source, target, ["two", "jobs", "two"])

    assert [each.queue for each in done] == ["two", "jobs"]
    assert set(target.queues) == {"two", "jobs"}
    assert list(contents(source, "one")) == ["in one"]


def test_a_queue_that_the_target_has_keeps_its_options_and_its_jobs_come_first(
    source: LocalClient, target: LocalClient
) -> None:
    target.declare_queue("jobs", max_deliveries=9)
    publish(target, "there")
    publish(source, "moved")

    migrate(source, target)

    assert target.store.queues()["jobs"].options == QueueOptions(max_deliveries=9)
    assert [each.id for each in target.store.waiting("jobs")] == ["there", "moved"]


def test_moving_is_the_same_in_batches_of_any_size(target: LocalClient) -> None:
    for size in (1, 2, 7, 1000):
        with LocalClient.in_memory() as source, LocalClient.in_memory() as other:
            source.declare_queue("jobs")
            wanted = [f"job {number}" for number in range(20)]
            publish(source, *wanted)

            migrate(source, other, batch_size=size)

            assert [each.id for each in other.store.waiting("jobs")] == wanted


def test_there_and_back_is_the_same_as_before() -> None:
    clock = ManualClock(1_700_000_000.0)
    with LocalClient.in_memory(clock=clock) as here, LocalClient.in_memory(clock=clock) as there:
        here.declare_queue("jobs", "priority")
        publish(here, "ready", priority=4, keep=100.0, ttl=500)
        publish(here, "delayed", delay=77, priority=-3)
        publish(here, "dead")
        drain(Orchestrator(here), "jobs", fail)
        publish(here, "again", body="not a job")
        before = contents(here)

        migrate(here, there)
        clock.advance(5)
        migrate(there, here)

        after = contents(here)
        assert {job._replace(entry=0) for job in after.values()} == {
            job._replace(entry=0) for job in before.values()
        }


def test_one_line_of_the_log_says_what_was_moved(
    source: LocalClient, target: LocalClient, caplog: pytest.LogCaptureFixture
) -> None:
    publish(source, "a", "b", body="a secret payload")
    holder, _ = receive(source)

    with caplog.at_level(logging.INFO, "mindtrace"):
        migrate(source, target)

    (line,) = [each for each in caplog.messages if "Moved" in each]
    assert line == (
        "Moved 1 ready, 0 delayed and 0 dead jobs of queue 'jobs' from local at memory to local "
        "at memory; 1 are running and stay."
    )
    assert "secret" not in caplog.text
    holder.close()


# what is refused, before anything moves


def test_a_queue_that_the_source_lacks_is_an_error(
    source: LocalClient, target: LocalClient
) -> None:
    publish(source, "a")

    with pytest.raises(QueueNotFoundError, match="nowhere"):
        migrate(source, target, ["jobs", "nowhere"])

    assert (list(contents(source)), target.queues) == (["a"], {})


def test_a_type_that_the_target_lacks_is_told_before_anything_moves(
    source: LocalClient, target: LocalClient
) -> None:
    source.declare_queue("pile", "stack")
    publish(source, "a")
    store: Any = target.store
    store.capabilities = replace(Capabilities(), queue_types=("fifo", "priority"))

    with pytest.raises(UnsupportedByBackendError, match="stack queues, and queue 'pile' is one"):
        migrate(source, target)
    assert (list(contents(source)), target.queues) == (["a"], {})

    migrate(source, target, ["jobs"])
    assert list(contents(target)) == ["a"]


def test_another_type_at_the_target_is_told_before_anything_moves(
    source: LocalClient, target: LocalClient
) -> None:
    source.declare_queue("other")
    target.declare_queue("other", "priority")
    publish(source, "a")

    with pytest.raises(QueueTypeMismatchError):
        migrate(source, target)

    assert (list(contents(source)), set(target.queues)) == (["a"], {"other"})


def test_a_batch_has_at_least_one_job(source: LocalClient, target: LocalClient) -> None:
    with pytest.raises(ValueError, match="batch_size is at least 1, not 0"):
        migrate(source, target, batch_size=0)


def test_one_place_is_not_moved_to_itself_whatever_it_is_called(tmp_path: Path) -> None:
    folder, link = tmp_path / "jobs", tmp_path / "link"
    with LocalClient(folder) as source, LocalClient(folder) as again:
        source.declare_queue("jobs")
        publish(source, "a")
        link.symlink_to(folder)
        with LocalClient(link) as other:
            # as if the address hid it, which that of a server can
            other.store.address = str(link)
            for target in (source, again, other):
                with pytest.raises(ValueError, match="the same place: local at "):
                    migrate(source, target)

        assert list(contents(source)) == ["a"]
        assert source.queues == {"jobs": "fifo"}


def test_what_a_killed_run_left_to_tell_places_apart_is_removed(
    source: LocalClient, target: LocalClient
) -> None:
    publish(source, "a")
    for client in (source, target):
        client.store.declare_queue(QueueSpec(PROBE))

    migrate(source, target)

    assert (source.queues, target.queues) == ({"jobs": "fifo"}, {"jobs": "fifo"})
    assert list(contents(target)) == ["a"]


# running jobs


def test_running_jobs_stay_and_are_counted(source: LocalClient, target: LocalClient) -> None:
    publish(source, "running", "waiting")
    holder, delivery = receive(source)

    (done,) = migrate(source, target)

    assert done == Moved("jobs", ready=1, delayed=0, dead=0, running=1)
    assert list(contents(target)) == ["waiting"]
    assert holder.settle([Settlement(delivery, "nack", attempts=1)]) == []
    (again,) = migrate(source, target)
    assert (again.ready, contents(target)["running"].attempts) == (1, 1)
    holder.close()


def test_what_a_consumer_takes_while_it_moves_stays_with_it(
    source: LocalClient, target: LocalClient
) -> None:
    publish(source, "taken", "moved")
    held: list[Any] = []
    before_removing(source, lambda: held.append(receive(source)))

    (done,) = migrate(source, target)

    assert done == Moved("jobs", ready=1, delayed=0, dead=0, running=1)
    assert list(contents(target)) == ["moved"]
    (holder, delivery) = held[0]
    assert holder.settle([Settlement(delivery, "ack")]) == []


def test_what_is_released_behind_the_mover_is_moved_as_well(
    source: LocalClient, target: LocalClient
) -> None:
    publish(source, "early")
    holder, delivery = receive(source)
    publish(source, "late")
    before_removing(source, lambda: holder.settle([Settlement(delivery, "release")]))

    (done,) = migrate(source, target)

    assert (done.ready, done.running) == (2, 0)
    assert set(contents(target)) == {"early", "late"}


def test_what_consumers_of_both_take_is_told(
    source: LocalClient, target: LocalClient, caplog: pytest.LogCaptureFixture
) -> None:
    publish(source, "both", body="a secret payload")
    held: list[Any] = []
    before_removing(source, lambda: held.extend((receive(target), receive(source))))

    with caplog.at_level(logging.WARNING, "mindtrace"):
        (done,) = migrate(source, target)

    assert done == Moved("jobs", ready=0, delayed=0, dead=0, running=1)
    (line,) = caplog.messages
    assert line == (
        "1 jobs of queue 'jobs' were taken by consumers of both backends while they moved, and "
        "run in both: both."
    )


# interruptions


class Interrupted(BaseException):
    """As KeyboardInterrupt is, and nothing else."""


def interrupt() -> None:
    raise Interrupted


@pytest.mark.parametrize("moment", [1, 2, 3, 7, 12])
def test_an_interrupted_move_is_finished_by_the_next(
    source: LocalClient, target: LocalClient, moment: int
) -> None:
    wanted = [f"job {number}" for number in range(25)]
    publish(source, *wanted)
    left = iter(range(moment - 1))

    def at_the_moment() -> None:
        if next(left, None) is None:
            interrupt()
        before_removing(source, at_the_moment)

    before_removing(source, at_the_moment)
    with pytest.raises(Interrupted):
        migrate(source, target, batch_size=2)
    assert len(contents(source)) + len(contents(target)) > len(wanted), "some are in both places"

    migrate(source, target, batch_size=3)

    assert contents(source) == {}
    assert [each.id for each in target.store.waiting("jobs")] == wanted


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_has_finished_since_the_interruption_is_not_run_again(
    source: LocalClient, target: LocalClient, caplog: pytest.LogCaptureFixture, cancelled: bool
) -> None:
    publish(source, "done", keep=1000.0)
    publish(source, "next")
    before_removing(source, interrupt)
    with pytest.raises(Interrupted):
        migrate(source, target)
    holder, delivery = receive(target)
    assert delivery.id == "done"
    if cancelled:
        target.cancel("done")
    holder.settle([Settlement(delivery, "ack", result="1")])

    with caplog.at_level(logging.INFO, "mindtrace"):
        migrate(source, target)

    assert contents(source) == {}
    assert list(contents(target)) == ["next"]
    record = target.store.record("done")
    assert record is not None
    assert record.state == (JobState.CANCELLED if cancelled else JobState.COMPLETED)
    assert "Job done has finished at the target" in caplog.text


def test_an_id_of_another_queue_at_the_target_stops_the_move_and_loses_nothing(
    source: LocalClient, target: LocalClient
) -> None:
    target.declare_queue("other")
    publish(target, "b", queue="other")
    publish(source, "a", "b", "c")

    with pytest.raises(DuplicateJobError, match="'b' exists in queue 'other'"):
        migrate(source, target)

    assert set(contents(source)) == {"a", "b", "c"}
    assert contents(target) == {}
    target.clean_queue("other")
    assert migrate(source, target)[0].ready == 3


def test_a_job_that_died_at_the_target_since_the_interruption_is_dead_there_only(
    source: LocalClient, target: LocalClient
) -> None:
    publish(source, "dies")
    before_removing(source, interrupt)
    with pytest.raises(Interrupted):
        migrate(source, target)
    drain(Orchestrator(target), "jobs", fail)

    migrate(source, target)

    assert contents(source) == {}
    assert contents(target)["dies"].state is JobState.DEAD


def test_adding_says_what_is_wrong_when_the_queue_has_gone(target: LocalClient) -> None:
    target.declare_queue("jobs")
    inlet: Any = target.store.inlet("jobs")
    target.delete_queue("jobs")

    with pytest.raises(QueueNotFoundError):
        inlet.add([])

    assert isinstance(inlet, LocalInlet)
    inlet.close()


MOVE = """
import os, sys
from mindtrace.jobs import LocalClient, migrate
source, target = LocalClient(sys.argv[1]), LocalClient(sys.argv[2])
source.store.queues(), target.store.queues()
os.write(1, b"go\\n")
migrate(source, target, batch_size=3)
"""


def waiting_or_dead(client: LocalClient) -> int:
    found = client.queue_stats("jobs")
    return found.ready + found.delayed + found.dead


def ready_delayed_and_dead(client: LocalClient, count: int) -> set[str]:
    """Fill a queue with jobs of every kind that moves; return their ids."""
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("jobs")
    numbers = [f"job {number}" for number in range(count)]
    publish(client, *numbers[: count // 4])
    drain(orchestrator, "jobs", fail)
    publish(client, *numbers[count // 4 : count // 2], delay=10_000)
    publish(client, *numbers[count // 2 :])
    return set(numbers)


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(20 if os.environ.get("MINDTRACE_STRESS") else 1))
def test_killed_again_and_again_each_job_ends_in_one_place(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    with LocalClient(tmp_path / "a") as source, LocalClient(tmp_path / "b") as target:
        wanted = ready_delayed_and_dead(source, 2000)
        target.declare_queue("jobs")
        before = contents(source)
        hits = 0
        while len(contents(source)) > 500:
            enough = waiting_or_dead(source) - choose.randrange(1, 200)
            process = start_python(MOVE, tmp_path / "a", tmp_path / "b")
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            eventually(lambda: waiting_or_dead(source) <= enough, within=60)  # noqa: B023 - at once
            pause(choose.uniform(0, 0.002))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert contents(source).keys() | contents(target).keys() == wanted
            hits += 1

        migrate(source, target)

        assert hits > 2, "the kills came too late"
        assert contents(source) == {}
        after = contents(target)
        assert list(after) == list(before), "also the order is what it was"
        assert [job._replace(entry=0) for job in after.values()] == [
            job._replace(entry=0) for job in before.values()
        ]


@pytest.mark.process
def test_consumers_of_the_source_may_go_on_while_it_is_moved(tmp_path: Path) -> None:
    consume = """
import sys
from time import sleep
from mindtrace.jobs import Consumer, LocalClient, Orchestrator
class Prints(Consumer):
    def run(self, job):
        sleep(0.002)  # else they may have run all before the move began
        print(job["id"], flush=True)
prints = Prints()
prints.connect_to_orchestrator(Orchestrator(LocalClient(sys.argv[1])), "jobs")
print("ready", flush=True)
prints.consume()
"""
    with LocalClient(tmp_path / "a") as source, LocalClient(tmp_path / "b") as target:
        source.declare_queue("jobs")
        consumers = [start_python(consume, tmp_path / "a") for _ in range(2)]
        for each in consumers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        wanted = [f"job-{number}" for number in range(3000)]
        jobs = [Job(id=each, name="any", payload={}) for each in wanted]
        Orchestrator(source).publish_many("jobs", jobs)

        (done,) = migrate(source, target, batch_size=10)

        for each in consumers:
            each.send_signal(signal.SIGTERM)
        ran = [line for each in consumers for line in each.communicate(timeout=60)[0].split()]
        migrate(source, target)
        moved = list(contents(target))
        assert sorted([*ran, *moved]) == sorted(wanted), "each ran once, or was moved once"
        assert done.ready > 0
        assert drain(Orchestrator(target), "jobs", nothing) == len(moved)
