"""One lane of a consumer: what it does when the store goes away, and what it lets go of."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import AsyncRunner, Runner, nothing

from mindtrace.jobs import (
    BackendUnavailableError,
    ConsumerBackend,
    Job,
    LocalClient,
    Orchestrator,
    OrchestratorBackend,
)
from mindtrace.jobs.lane import taken
from mindtrace.jobs.local.store import LocalStore
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mindtrace.jobs.backend import Delivery, Holder, Reception, Settlement


class FlakyHolder:
    """A holder whose store can be switched off."""

    def __init__(self, holder: Holder, store: FlakyStore) -> None:
        self._holder = holder
        self._store = store

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        self._store.check("receive")
        return self._holder.receive(queues, limit=limit, wait=wait, settlements=settlements)

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        self._store.check("settle")
        return self._holder.settle(settlements)

    def cancelled(self) -> frozenset[str]:
        self._store.check("cancelled")
        return self._holder.cancelled()

    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        self._store.check("progress")
        self._holder.progress(delivery, done, total)

    def wake(self) -> None:
        self._holder.wake()

    def close(self) -> None:
        self._store.check("close")
        self._holder.close()


class FlakyStore(LocalStore):
    """A store in memory that is away while a call of that name is among `away`."""

    def __init__(self) -> None:
        super().__init__(None)
        self.away: set[str] = set()
        self.transient = True
        self.refused: deque[str] = deque()
        self.hooks: dict[str, Callable[[], object]] = {}

    def check(self, call: str) -> None:
        if call in self.hooks:
            self.hooks[call]()
        if call in self.away:
            self.refused.append(call)
            raise BackendUnavailableError("test", "here", "it is away", transient=self.transient)

    def holder(self) -> Any:
        self.check("holder")
        return FlakyHolder(super().holder(), self)


class Bench:
    """An orchestrator on a flaky store, with a queue."""

    def __init__(self) -> None:
        self.store = FlakyStore()
        self.client = OrchestratorBackend(self.store)
        self.orchestrator = Orchestrator(self.client)
        self.orchestrator.declare_queue("tasks")

    def publish(self, count: int) -> list[str]:
        jobs = [Job(name="any", payload={}) for _ in range(count)]
        return self.orchestrator.publish_many("tasks", jobs)

    def consumer(self, run: Any = nothing) -> Runner:
        consumer = Runner(run)
        consumer.connect_to_orchestrator(self.orchestrator, "tasks")
        return consumer

    def counts(self) -> tuple[int, int, int]:
        found = self.orchestrator.queue_stats("tasks")
        return found.ready, found.leased, found.dead


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.client.close()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "mindtrace")
    return caplog


HOWS = pytest.mark.parametrize("how", [{}, {"concurrency": 2}], ids=["one", "threads"])


class TestStoreAway:
    @HOWS
    def test_it_waits_with_one_line_and_goes_on(
        self, bench: Bench, warnings: pytest.LogCaptureFixture, how: dict[str, Any]
    ) -> None:
        bench.publish(3)
        bench.store.away = {"receive"}
        consumer = bench.consumer()
        consuming = Background(lambda: consumer.consume(3, **how))
        eventually(lambda: len(bench.store.refused) > 2)

        bench.store.away = set()

        assert consuming.result() == 3
        lanes = how.get("concurrency", 1)
        away = [each for each in warnings.messages if "Waiting for it to come back" in each]
        back = [each for each in warnings.messages if "is back" in each]
        assert 1 <= len(away) <= lanes
        assert 1 <= len(back) <= len(away)  # one may leave before it sees

    def test_a_consumer_can_start_while_it_is_away(self, bench: Bench) -> None:
        bench.publish(1)
        consumer = bench.consumer()
        bench.store.away = {"holder"}
        consuming = Background(lambda: consumer.consume(1))
        eventually(lambda: bench.store.refused)

        bench.store.away = set()

        assert consuming.result() == 1

    def test_a_stop_is_heard_before_it_ever_came(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.store.away = {"holder"}
        consuming = Background(lambda: consumer.consume(1))
        eventually(lambda: bench.store.refused)

        consumer.stop()

        with pytest.raises(BackendUnavailableError):
            consuming.result()

    def test_a_stop_is_heard_while_it_is_away(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.store.away = {"receive"}
        consuming = Background(consumer.consume)
        eventually(lambda: len(bench.store.refused) > 3)

        seconds = seconds_of(lambda: (consumer.stop(), consuming.result()))

        assert seconds < 2

    def test_outcomes_wait_with_it_and_are_settled_afterwards(self, bench: Bench) -> None:
        bench.publish(2)

        def run(_: Any) -> None:
            bench.store.away = {"receive"}

        consumer = bench.consumer(run)
        consuming = Background(lambda: consumer.consume(2, prefetch=2))
        eventually(lambda: bench.store.refused or consuming.done.is_set())

        bench.store.away = set()

        assert consuming.result() == 2
        assert bench.counts() == (0, 0, 0)

    def test_what_cannot_be_mended_is_raised(self, bench: Bench) -> None:
        bench.publish(1)
        consumer = bench.consumer()
        bench.store.away = {"receive"}
        bench.store.transient = False

        with pytest.raises(BackendUnavailableError, match="test backend at here"):
            consumer.consume()

    def test_a_last_settle_has_several_chances(
        self, bench: Bench, warnings: pytest.LogCaptureFixture
    ) -> None:
        bench.publish(1)

        def run(_: Any) -> None:
            bench.store.away = {"settle"}

        consumer = bench.consumer(run)
        consuming = Background(lambda: consumer.consume(1))
        eventually(lambda: "settle" in bench.store.refused)

        bench.store.away = set()

        assert consuming.result() == 1
        assert bench.counts() == (0, 0, 0)

    def test_what_could_not_be_settled_runs_again(
        self, bench: Bench, warnings: pytest.LogCaptureFixture
    ) -> None:
        bench.publish(1)

        def run(_: Any) -> None:
            bench.store.away = {"settle", "close"}

        handled = bench.consumer(run).consume(1)

        assert handled == 1
        assert any("could not be settled" in each for each in warnings.messages)
        assert any("comes back by itself" in each for each in warnings.messages)
        bench.store.away = set()
        assert bench.counts() == (0, 1, 0)

    def test_while_a_job_takes_long_the_others_are_given_back_later(self, bench: Bench) -> None:
        bench.publish(3)
        go = threading.Event()

        def run(_: Any) -> None:
            bench.store.away = {"settle"}
            assert go.wait(10)

        consumer = bench.consumer(run)
        consuming = Background(lambda: consumer.consume(3, prefetch=3))
        eventually(lambda: "settle" in bench.store.refused)

        bench.store.away = set()
        eventually(lambda: bench.counts()[0] == 0 or True)
        consumer.handle = nothing
        go.set()

        assert consuming.result() == 3
        assert bench.counts() == (0, 0, 0)

    def test_an_async_consumer_waits_too(self, bench: Bench) -> None:
        bench.publish(3)

        async def run(_: Any) -> None:
            bench.store.away = {"receive", "settle", "cancelled"}
            await asyncio.sleep(0.25)

        consumer = AsyncRunner(run)
        consumer.connect_to_orchestrator(bench.orchestrator, "tasks")
        consuming = Background(lambda: consumer.consume(3, concurrency=2))

        def mended() -> bool:
            if bench.store.refused:
                bench.store.away = set()
            return consuming.done.is_set()

        eventually(mended, within=20)

        assert consuming.result() == 3
        assert "cancelled" in bench.store.refused
        assert bench.counts() == (0, 0, 0)

    def test_an_async_consumer_lets_go_of_what_it_cannot_settle(
        self, bench: Bench, warnings: pytest.LogCaptureFixture
    ) -> None:
        bench.publish(1)

        async def run(_: Any) -> None:
            bench.store.away = {"settle", "close"}

        consumer = AsyncRunner(run)
        consumer.connect_to_orchestrator(bench.orchestrator, "tasks")

        handled = consumer.consume(1)

        assert handled == 1
        assert any("comes back by itself" in each for each in warnings.messages)


class TestSignalsInOurOwnCode:
    """A second signal that comes while no handler runs waits until our own work is done."""

    @pytest.mark.parametrize(
        ("call", "how"), [("receive", {}), ("holder", {}), ("holder", {"concurrency": 2})]
    )
    def test_nothing_is_torn_apart(self, bench: Bench, call: str, how: dict[str, Any]) -> None:
        bench.publish(2)
        bench.store.hooks[call] = lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]
        consumer = bench.consumer()

        handled = consumer.consume(**how)

        bench.store.hooks.clear()
        assert handled == 0
        eventually(lambda: bench.counts() == (2, 0, 0))

    def test_a_third_one_after_an_interrupted_handler_does_not_keep_what_is_held(
        self, bench: Bench
    ) -> None:
        bench.publish(3)

        def stop(times: int) -> None:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGTERM)

        def run(_: Any) -> None:
            bench.store.hooks["close"] = lambda: stop(1)
            stop(2)

        bench.consumer(run).consume(prefetch=3)

        bench.store.hooks.clear()
        assert bench.counts() == (3, 0, 0)

    def test_outcomes_survive_a_fetch_that_fails_for_good(self, bench: Bench) -> None:
        bench.publish(1)
        bench.store.transient = False

        def run(_: Any) -> None:
            bench.store.away = {"receive"}

        with pytest.raises(BackendUnavailableError):
            bench.consumer(run).consume(prefetch=1)

        bench.store.away.clear()
        assert bench.counts() == (0, 0, 0), "it was settled on the way out"


class TestStaleSettles:
    def test_a_refused_settle_is_told_in_the_log(
        self,
        orchestrator: Orchestrator,
        client: LocalClient,
        warnings: pytest.LogCaptureFixture,
    ) -> None:
        orchestrator.declare_queue("tasks")
        job_id = orchestrator.publish("tasks", Job(name="any", payload={}))

        def run(_: Any) -> None:
            orchestrator.delete_queue("tasks")
            orchestrator.declare_queue("tasks")

        consumer = Runner(run)
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        assert consumer.consume(1) == 1
        (line,) = [each for each in warnings.messages if "StaleDeliveryError" in each]
        assert job_id in line


class TestLogging:
    def test_a_failure_is_one_line_with_the_facts_of_the_job(
        self, orchestrator: Orchestrator, warnings: pytest.LogCaptureFixture
    ) -> None:
        orchestrator.declare_queue("tasks")
        job_id = orchestrator.publish("tasks", Job(name="any", payload={}))

        def run(_: Any) -> None:
            raise LookupError

        consumer = Runner(run)
        consumer.connect_to_orchestrator(orchestrator, "tasks")
        consumer.consume(1)

        (record,) = [each for each in warnings.records if "dead letter" in each.message]
        assert vars(record)["job_id"] == job_id
        assert vars(record)["queue"] == "tasks"
        assert vars(record)["delivery"] == 1
        assert "LookupError" in record.message

    def test_a_consumer_is_named_where_its_backend_is_made(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("tasks")

        backend = orchestrator.backend.create_consumer_backend("tasks", orchestrator)

        assert isinstance(backend, ConsumerBackend)
        assert backend.queue_name == "tasks"


def test_a_deque_is_emptied_once() -> None:
    items = deque([1, 2, 3])

    assert taken(items) == [1, 2, 3]
    assert taken(items) == []
