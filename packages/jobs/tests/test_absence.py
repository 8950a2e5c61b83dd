"""A store that is away when a consumer begins."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from mindtrace.core import TaskSchema
from mindtrace.jobs import (
    BackendUnavailableError,
    Consumer,
    LocalClient,
    Orchestrator,
    QueueNotFoundError,
)
from mindtrace.jobs.testing.harness import entry
from mindtrace.jobs.testing.waiting import Background, pause

if TYPE_CHECKING:
    from mindtrace.jobs.backend import Queue, QueueSpec


class Recorder(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def run(self, job_dict: Any) -> None:
        self.seen.append(job_dict["id"])


class Distant(LocalClient):
    """A client in memory whose store is away for so many calls."""

    away: int
    transient: bool

    @classmethod
    def for_calls(cls, away: int, *, transient: bool = True) -> Distant:
        self = cls.in_memory()
        self.away, self.transient = away, transient
        declare, queues = self.store.declare_queue, self.store.queues

        def declare_queue(spec: QueueSpec) -> bool:
            self.reach()
            return declare(spec)

        def look() -> dict[str, Queue]:
            self.reach()
            return queues()

        self.store.declare_queue, self.store.queues = declare_queue, look
        return self

    def reach(self) -> None:
        if self.away:
            self.away -= 1
            raise BackendUnavailableError(
                "local", "far away", "nobody answers", transient=self.transient
            )


def test_a_consumer_waits_for_a_store_that_is_away_when_it_begins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Distant.for_calls(4)
    consumer = Recorder()
    with caplog.at_level(logging.WARNING):
        consumer.connect_to_orchestrator(Orchestrator(client), "work")

        assert consumer.consume(timeout=5, num_messages=0, block=True, concurrency=1) == 0

    assert client.store.queues()["work"].queue_type == "fifo"
    said = [record.message for record in caplog.records]
    assert sum("Waiting for it to come back" in each for each in said) == 1
    assert sum("is back" in each for each in said) == 1


def test_one_that_waits_for_an_absent_store_can_be_stopped() -> None:
    client = Distant.for_calls(1_000_000)
    consumer = Recorder()
    consumer.connect_to_orchestrator(Orchestrator(client), "work")
    running = Background(consumer.consume)
    pause(0.1)
    assert not running.done.is_set()

    consumer.stop()

    assert running.result() == 0
    assert consumer.stopped


def test_one_that_does_not_block_says_that_the_store_is_away() -> None:
    client = Distant.for_calls(2)
    consumer = Recorder()
    consumer.connect_to_orchestrator(Orchestrator(client), "work")

    with pytest.raises(BackendUnavailableError, match="nobody answers"):
        consumer.consume_until_empty()


def test_a_store_that_cannot_be_waited_for_is_an_error_at_once() -> None:
    orchestrator = Orchestrator(Distant.for_calls(1, transient=False))
    consumer = Recorder()

    with pytest.raises(BackendUnavailableError, match="nobody answers"):
        consumer.connect_to_orchestrator(orchestrator, "work")

    assert consumer.consumer_backend is None
    consumer.connect_to_orchestrator(orchestrator, "work")


def test_a_typed_function_waits_too() -> None:
    schema = TaskSchema(name="typed")

    @schema.handler()
    def run(job: object) -> None: ...

    client = Distant.for_calls(3)
    run.connect(Orchestrator(client))

    assert run.consume(timeout=5) == 0
    assert "typed" in client.store.queues()


def test_a_running_consumer_asks_for_no_options_of_its_queues() -> None:
    """A look in the lane would end it when the store is away just then."""
    client = Distant.for_calls(0)
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("work")
    consumer = Recorder()
    consumer.connect_to_orchestrator(orchestrator, "work")
    client.store.publish("work", [entry("one", body='{"payload": {}}')])
    known = client.store.queues

    def look_once() -> dict[str, Queue]:
        found = known()
        client.away = 1_000_000
        return found

    client.store.queues = look_once

    assert consumer.consume(num_messages=1) == 1
    assert consumer.seen == ["one"]


def test_a_queue_that_is_missing_is_an_error_and_not_waited_for() -> None:
    consumer = Recorder()
    consumer.connect_to_orchestrator(Orchestrator(Distant.for_calls(0)), "work")

    with pytest.raises(QueueNotFoundError):
        consumer.consume(queues="nowhere")
