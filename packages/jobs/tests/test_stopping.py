"""Stopping: by method, by signal, by a second signal; in this process and in a real child."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import consumer_of, nothing, start_python

from mindtrace.jobs import Job, LocalClient, Orchestrator
from mindtrace.jobs.executor import StopNow
from mindtrace.jobs.stopping import STOP_SIGNALS, StopSignals
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background, seconds_of

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import Popen

signals = pytest.mark.parametrize("number", STOP_SIGNALS)


def always() -> bool:
    return True


def publish(orchestrator: Orchestrator, count: int) -> list[str]:
    orchestrator.declare_queue("tasks")
    return orchestrator.publish_many("tasks", [Job(name="any", payload={}) for _ in range(count)])


class TestStopSignals:
    @signals
    def test_the_first_signal_asks_and_the_second_ends(self, number: signal.Signals) -> None:
        asked: list[int] = []

        with StopSignals(lambda: asked.append(1), always):
            os.kill(os.getpid(), number)
            assert asked == [1]
            with pytest.raises(StopNow):
                os.kill(os.getpid(), number)

        assert asked == [1]

    def test_a_second_signal_that_would_do_harm_is_only_noted(self) -> None:
        with StopSignals(lambda: None, lambda: False) as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
            first = stopping.at_once
            os.kill(os.getpid(), signal.SIGTERM)

            assert (first, stopping.at_once) == (False, True)

    def test_the_handlers_found_before_are_restored(self) -> None:
        def mine(*_: Any) -> None:
            pass

        before = signal.signal(signal.SIGTERM, mine)
        try:
            with StopSignals(lambda: None, always):
                assert signal.getsignal(signal.SIGTERM) is not mine

            assert signal.getsignal(signal.SIGTERM) is mine
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_one_that_was_not_installed_from_python_becomes_the_default(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        stopping = StopSignals(lambda: None, always)
        try:
            with stopping:
                stopping._before[signal.SIGTERM] = None  # pyright: ignore[reportPrivateUsage]

            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_in_another_thread_nothing_is_touched(self) -> None:
        def look() -> Any:
            with StopSignals(lambda: None, always):
                return signal.getsignal(signal.SIGTERM)

        before = signal.getsignal(signal.SIGTERM)

        assert Background(look).result() is before


class TestInThisProcess:
    @pytest.mark.parametrize("how", [{}, {"concurrency": 2}])
    def test_stop_finishes_what_runs_and_releases_the_rest(
        self, orchestrator: Orchestrator, how: dict[str, Any]
    ) -> None:
        publish(orchestrator, 10)
        began, go = threading.Event(), threading.Event()

        def run(_: Any) -> None:
            began.set()
            assert go.wait(10)

        consumer = consumer_of(orchestrator, "tasks", run)
        consuming = Background(lambda: consumer.consume(prefetch=3, **how))
        began.wait(10)

        consumer.stop()
        go.set()
        handled = consuming.result()

        found = orchestrator.queue_stats("tasks")
        assert 1 <= handled <= 2
        assert (found.ready, found.leased, found.dead) == (10 - handled, 0, 0)

    def test_an_idle_consumer_returns_at_once(self, orchestrator: Orchestrator) -> None:
        consumer = consumer_of(orchestrator, "tasks", nothing)
        consuming = Background(consumer.consume)
        publish(orchestrator, 1)
        eventually(lambda: orchestrator.count_queue_messages("tasks") == 0)

        seconds = seconds_of(lambda: (consumer.stop(), consuming.result()))

        assert seconds < 0.9

    def test_a_stop_inside_of_a_handler_is_heard(self, orchestrator: Orchestrator) -> None:
        publish(orchestrator, 5)
        consumer: Any = consumer_of(orchestrator, "tasks", nothing)
        consumer.handle = lambda job: consumer.stop()  # pyright: ignore[reportUnknownLambdaType]

        handled = consumer.consume()

        assert handled == 1
        assert orchestrator.count_queue_messages("tasks") == 4

    def test_closing_the_backend_stops_it(self, orchestrator: Orchestrator) -> None:
        publish(orchestrator, 5)
        consumer: Any = consumer_of(orchestrator, "tasks", nothing)
        backend = consumer.consumer_backend
        assert backend is not None
        consumer.handle = lambda job: backend.close()  # pyright: ignore[reportUnknownLambdaType]

        assert consumer.consume() == 1

    @signals
    @pytest.mark.parametrize("how", [{}, {"concurrency": 2}])
    def test_a_signal_finishes_the_job_in_hand(
        self, orchestrator: Orchestrator, number: signal.Signals, how: dict[str, Any]
    ) -> None:
        publish(orchestrator, 6)
        before = signal.getsignal(number)

        def run(_: Any) -> None:
            os.kill(os.getpid(), number)
            threading.Event().wait(0.05)

        handled = consumer_of(orchestrator, "tasks", run).consume(num_messages=1, **how)

        assert handled == 1
        assert orchestrator.count_queue_messages("tasks") == 5
        assert signal.getsignal(number) is before

    def test_a_second_signal_loses_the_job_in_hand(self, orchestrator: Orchestrator) -> None:
        publish(orchestrator, 3)

        def run(_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(10)

        handled = consumer_of(orchestrator, "tasks", run).consume(prefetch=3)

        assert handled == 0
        assert orchestrator.count_queue_messages("tasks") == 3
        lost: list[int] = []
        consumer_of(orchestrator, "tasks", lambda job: lost.append(job.lost)).consume(block=False)
        assert sorted(lost) == [0, 0, 1]

    def test_a_second_signal_lets_go_of_the_jobs_in_threads(
        self, orchestrator: Orchestrator
    ) -> None:
        publish(orchestrator, 2)
        go = threading.Event()
        began = threading.Barrier(3)

        def run(_: Any) -> None:
            began.wait(10)
            go.wait(10)

        consumer = consumer_of(orchestrator, "tasks", run)

        def interrupt() -> None:
            began.wait(10)
            os.kill(os.getpid(), signal.SIGTERM)
            backend: Any = consumer.consumer_backend
            eventually(lambda: backend._stopping)
            os.kill(os.getpid(), signal.SIGTERM)

        interrupting = Background(interrupt)
        handled = consumer.consume(concurrency=2)
        interrupting.result()

        assert handled == 0
        eventually(lambda: orchestrator.count_queue_messages("tasks") == 2)
        go.set()


CHILD = """
import os, sys, threading
from mindtrace.jobs import Consumer, LocalClient, Orchestrator

class Slow(Consumer):
    def run(self, job):
        os.write(1, b"began\\n")  # whole lines, also from several threads
        threading.Event().wait(float(sys.argv[2]))
        os.write(1, b"ended\\n")

consumer = Slow("tasks")
consumer.connect(Orchestrator(LocalClient(sys.argv[1])))
print("ready", flush=True)
print("handled", consumer.consume(**eval(sys.argv[3])), flush=True)
"""


def line(child: Popen[str]) -> list[str]:
    assert child.stdout is not None
    return child.stdout.readline().split()


@pytest.mark.process
class TestInARealProcess:
    @signals
    @pytest.mark.parametrize("how", ["dict()", "dict(concurrency=2)"])
    def test_a_signal_finishes_releases_and_ends(
        self, folder: Path, durable: Orchestrator, number: signal.Signals, how: str
    ) -> None:
        publish(durable, 40)
        child = start_python(CHILD, folder, 0.3, how)
        assert line(child) == ["ready"]
        assert line(child) == ["began"]

        child.send_signal(number)
        output, errors = child.communicate(timeout=20)

        words = output.split()
        handled = int(words[-1])
        assert child.returncode == 0, errors
        assert words.count("ended") == handled
        assert 1 <= handled < 40
        assert durable.count_queue_messages("tasks") == 40 - handled

    def test_a_second_signal_ends_a_job_that_takes_for_ever(
        self, folder: Path, durable: Orchestrator
    ) -> None:
        publish(durable, 1)
        child = start_python(CHILD, folder, 60, "dict()")
        assert line(child) == ["ready"]
        assert line(child) == ["began"]

        for _ in range(2):
            child.send_signal(signal.SIGTERM)
            threading.Event().wait(1.0)  # two that come together count as one
        output, errors = child.communicate(timeout=20)

        assert child.returncode == 0, errors
        assert output.split()[-2:] == ["handled", "0"]
        assert durable.count_queue_messages("tasks") == 1

    def test_a_kill_loses_no_job(self, folder: Path, durable: Orchestrator) -> None:
        publish(durable, 1)
        child = start_python(CHILD, folder, 60, "dict()")
        assert line(child) == ["ready"]
        assert line(child) == ["began"]

        child.kill()
        child.communicate(timeout=20)

        with LocalClient(folder) as another:
            lost: list[int] = []
            consumer = consumer_of(
                Orchestrator(another), "tasks", lambda job: lost.append(job.lost)
            )
            assert consumer.consume(1, timeout=10) == 1
        assert lost == [1]


def test_a_loop_around_consume_can_tell_that_it_was_stopped(orchestrator: Orchestrator) -> None:
    orchestrator.declare_queue("tasks")
    orchestrator.publish("tasks", Job(name="any", payload={}))
    consumer = consumer_of(orchestrator, "tasks", nothing)

    consumer.consume(num_messages=1)
    unasked = consumer.stopped
    consumer.stop()
    consumer.consume(num_messages=1)

    assert (unasked, consumer.stopped) == (False, True)
