"""A server without memory takes no new jobs and says so; those that it has are finished."""

import pytest
import verdict
from crew import Crew
from places import RABBITMQ, REDIS

from mindtrace.jobs import BackendUnavailableError, Job
from mindtrace.jobs.testing.waiting import Background, eventually, pause
from tools.services.rabbitmq import RabbitMQServer
from tools.services.redis import RedisServer

BACKLOG = 300


def publish(crew: Crew, count: int, *, ballast: int = 0) -> list[str]:
    """Publish jobs that wait until `crew.gate()` is opened."""
    payload = {"do": "gate", "gate": str(crew.gate()), "ballast": "x" * ballast}
    return crew.orchestrator.publish_many(
        "work", [Job(name="work", payload=payload) for _ in range(count)]
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
    worker = crew.consumer()
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
