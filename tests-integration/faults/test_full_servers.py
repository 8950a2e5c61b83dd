"""A server without memory takes no new jobs and says so; those that it has are finished."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
import verdict
from crew import Crew
from places import LEDGER, RABBITMQ, REDIS

from mindtrace.jobs import BackendUnavailableError, Job
from mindtrace.jobs.backend import Holder
from mindtrace.jobs.testing.harness import ack
from mindtrace.jobs.testing.waiting import Background, eventually, pause
from mindtrace.jobs_rabbitmq import link, publisher
from mindtrace.jobs_rabbitmq.ledger import LedgerStore
from tools.services.rabbitmq import RabbitMQServer
from tools.services.redis import RedisServer

BACKLOG = 300


def publish(crew: Crew, count: int, *, ballast: int = 0, priority: int = 0) -> list[str]:
    """Publish jobs that wait until `crew.gate()` is opened."""
    payload = {"do": "gate", "gate": str(crew.gate()), "ballast": "x" * ballast}
    return crew.orchestrator.publish_many(
        "work", [Job(name="work", payload=payload, priority=priority) for _ in range(count)]
    )


@pytest.mark.parametrize("crew", [REDIS], indirect=True)
def test_a_full_redis_refuses_new_jobs_while_consumers_finish_the_others(crew: Crew) -> None:
    server = crew.server
    assert isinstance(server, RedisServer)
    crew.declare()
    ids = publish(crew, BACKLOG, ballast=1000)
    worker = crew.consumer()
    worker.wait_for("begin")

    server.ctl("CONFIG", "SET", "maxmemory", "1mb")  # less than it has
    with pytest.raises(BackendUnavailableError) as refused:
        publish(crew, 1)
    crew.gate().touch()
    eventually(lambda: set(ids) <= verdict.effects(crew), within=30.0, what="the old jobs")
    with pytest.raises(BackendUnavailableError, match="maxmemory"):
        publish(crew, 1)
    server.ctl("CONFIG", "SET", "maxmemory", "0")
    ids += publish(crew, 1)

    assert f"127.0.0.1:{server.port}" in str(refused.value)
    assert "memory is full (maxmemory is reached)" in str(refused.value)
    verdict.come_to_rest(crew, ids)
    assert worker.lines("away") == []
    verdict.check(crew, ids)


def alarmed(crew: Crew) -> RabbitMQServer:
    server = crew.server
    assert isinstance(server, RabbitMQServer)
    server.raise_memory_alarm()
    return server


@pytest.mark.parametrize("crew", [RABBITMQ], indirect=True)
def test_publishing_waits_for_the_end_of_a_memory_alarm_while_consumers_go_on(crew: Crew) -> None:
    crew.declare()
    ids = publish(crew, BACKLOG)
    worker = crew.consumer(prefetch=1)  # what it holds ahead it may give back, by publishing it
    worker.wait_for("begin")

    server = alarmed(crew)
    try:
        crew.gate().touch()
        eventually(lambda: set(ids) <= verdict.effects(crew), within=60.0, what="the old jobs")
        waiting = Background(lambda: publish(crew, 1))
        pause(0.3)
        assert not waiting.done.is_set(), "the alarm stopped nobody"
    finally:
        server.clear_memory_alarm()

    ids += waiting.result(within=30.0)
    verdict.come_to_rest(crew, ids)
    assert worker.lines("away") == worker.lines("refused") == []
    verdict.check(crew, ids)


def take_all(holder: Holder, ids: Sequence[str]) -> None:
    """Receive and acknowledge until all of these have come."""
    done: set[str] = set()

    def all_done() -> bool:
        try:
            received = holder.receive(["work"], limit=3, wait=0.2).deliveries
        except BackendUnavailableError:
            return False
        assert holder.settle([ack(each) for each in received]) == []
        done.update(each.id for each in received)
        return done == set(ids)

    eventually(all_done, within=60.0, what="all jobs")


@contextmanager
def hasty(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Let the broker's word be waited for shortly, by clients of this process."""
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "CONFIRM_WITHIN", 0.3)
        patch.setattr(link, "ANSWER_WITHIN", 1.0)
        yield


@pytest.mark.parametrize("crew", [RABBITMQ], indirect=True)
def test_what_comes_with_a_lost_job_that_an_alarm_keeps_from_being_counted_comes_after_it(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost job is sent again with its count, which the broker does not take meanwhile."""
    monkeypatch.setattr(publisher, "CONFIRM_WITHIN", 0.3)
    crew.declare(kind="priority", max_priority=9)
    (lost,) = publish(crew, 1, priority=1)
    store = crew.orchestrator.backend.store
    dead, heir = store.holder(), store.holder()
    assert len(dead.receive(["work"], limit=1, wait=20).deliveries) == 1
    cast("Any", dead).abandon()
    urgent = publish(crew, 2, priority=5)
    server = alarmed(crew)
    try:
        with hasty(monkeypatch), pytest.raises(BackendUnavailableError, match="alarm"):
            heir.receive(["work"], limit=9, wait=5)
    finally:
        server.clear_memory_alarm()

    take_all(heir, [lost, *urgent])
    heir.close()


@pytest.mark.parametrize("crew", [LEDGER], indirect=True)
def test_turns_that_an_alarm_keeps_from_being_put_off_come_after_it(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn whose job somebody has is sent again for later, and another job comes with it."""
    crew.declare()
    held, other = publish(crew, 2)
    store = crew.orchestrator.backend.store
    assert isinstance(store, LedgerStore)
    first, second = store.holder(), store.holder()
    (delivery,) = first.receive(["work"], limit=1, wait=20).deliveries
    store.send_turns("work", [(held, 0, 0.0)])
    server = alarmed(crew)
    try:
        for _ in range(2):
            with hasty(monkeypatch), pytest.raises(BackendUnavailableError):
                second.receive(["work"], limit=3, wait=5)
    finally:
        server.clear_memory_alarm()

    assert first.settle([ack(delivery)]) == []
    take_all(second, [other])
    second.close()
    first.close()


@pytest.mark.stress
@pytest.mark.parametrize("crew", [RABBITMQ], indirect=True)
def test_publishing_gives_up_on_a_memory_alarm_with_a_word_about_it(crew: Crew) -> None:
    crew.declare()
    server = alarmed(crew)
    try:
        with pytest.raises(BackendUnavailableError, match=r"alarm") as refused:
            publish(crew, 1)
    finally:
        server.clear_memory_alarm()

    assert f"127.0.0.1:{server.port}" in str(refused.value)
    crew.gate().touch()
    ids = publish(crew, 1)
    worker = crew.consumer()
    eventually(lambda: set(ids) <= verdict.effects(crew), within=20.0)
    assert worker.lines("away") == []
