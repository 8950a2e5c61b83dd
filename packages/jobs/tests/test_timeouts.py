"""A bound on how long a handler runs: in the main thread, in others, in a loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import AsyncRunner, consumer_of, run_python

from mindtrace.core import SystemClock
from mindtrace.jobs import Job, JobTimeoutError, Orchestrator
from mindtrace.jobs.testing.waiting import Background, seconds_of
from mindtrace.jobs.timeouts import run_bounded

if TYPE_CHECKING:
    from collections.abc import Callable


def spin(_: Any) -> None:
    """Run Python code for five seconds."""
    clock = SystemClock()
    end = clock.monotonic() + 5
    while clock.monotonic() < end:
        pass


def rest(_: Any) -> None:
    """Block in a system call."""
    threading.Event().wait(5)


def in_this_thread(call: Callable[[], Any]) -> Any:
    return call()


def in_another_thread(call: Callable[[], Any]) -> Any:
    return Background(call).result()


anywhere = pytest.mark.parametrize("where", [in_this_thread, in_another_thread])


class TestRunBounded:
    @anywhere
    def test_what_ends_in_time_returns_its_value(self, where: Any) -> None:
        assert where(lambda: run_bounded(lambda each: each + 1, 1, 5, "job")) == 2

    @anywhere
    def test_what_raises_in_time_raises_it(self, where: Any) -> None:
        def broken(_: Any) -> None:
            raise LookupError

        with pytest.raises(LookupError):
            where(lambda: run_bounded(broken, 1, 5, "job"))

    @anywhere
    def test_what_takes_too_long_is_interrupted(self, where: Any) -> None:
        def run() -> None:
            with pytest.raises(JobTimeoutError, match=r"'job'.*within 0.1 s"):
                where(lambda: run_bounded(spin, None, 0.1, "job"))

        assert seconds_of(run) < 3

    def test_a_blocking_call_in_the_main_thread_is_interrupted(self) -> None:
        def run() -> None:
            with pytest.raises(JobTimeoutError):
                run_bounded(rest, None, 0.1, "job")

        assert seconds_of(run) < 3

    @anywhere
    def test_except_exception_does_not_swallow_it(self, where: Any) -> None:
        def stubborn(_: Any) -> str:
            try:
                spin(None)
            except Exception:  # noqa: BLE001 - that is the point
                return "swallowed"
            return "ended"

        with pytest.raises(JobTimeoutError):
            where(lambda: run_bounded(stubborn, None, 0.1, "job"))

    @anywhere
    def test_nothing_comes_after_the_end(self, where: Any) -> None:
        def run() -> int:
            for _ in range(50):
                with suppress(JobTimeoutError):  # a busy machine may take as long as that
                    run_bounded(lambda _: None, None, 0.01, "job")
            threading.Event().wait(0.05)
            return sum(range(1000))

        assert where(run) == 499500

    @pytest.mark.process
    @pytest.mark.parametrize("seconds", [5, 0.1])
    def test_a_traced_thread_goes_on(self, seconds: float) -> None:
        # as under a debugger or a measurement of coverage
        code = """
import contextlib, faulthandler, sys, threading
from mindtrace.jobs import JobTimeoutError
from mindtrace.jobs.timeouts import run_bounded
faulthandler.dump_traceback_later(10, exit=True)
def trace(*_): return trace
def half_a_second(_):
    for _ in range(50):
        threading.Event().wait(0.01)
def work():
    with contextlib.suppress(JobTimeoutError):
        run_bounded(half_a_second, None, float(sys.argv[1]), "job")
    threading.Event().set()
    print("went on")
threading.settrace(trace)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

        assert run_python(code, seconds) == "went on"

    def test_the_alarm_found_before_is_restored(self) -> None:
        def mine(*_: Any) -> None:
            pass

        before = signal.signal(signal.SIGALRM, mine)
        signal.setitimer(signal.ITIMER_REAL, 100)
        try:
            run_bounded(lambda _: None, None, 1, "job")
            with pytest.raises(JobTimeoutError):
                run_bounded(spin, None, 0.05, "job")

            assert signal.getsignal(signal.SIGALRM) is mine
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_a_timer_found_before_goes_on(self) -> None:
        own = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, 100)
        try:
            run_bounded(lambda _: None, None, 1, "job")
            with pytest.raises(JobTimeoutError):
                run_bounded(spin, None, 0.05, "job")

            assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
        finally:
            signal.setitimer(signal.ITIMER_REAL, *own)


class TestJobs:
    def published(self, orchestrator: Orchestrator, count: int = 1) -> None:
        orchestrator.declare_queue("tasks", timeout=0.1)
        orchestrator.publish_many("tasks", [Job(name="any", payload={}) for _ in range(count)])

    @pytest.mark.parametrize("how", [{}, {"concurrency": 2}])
    def test_a_job_that_takes_too_long_is_a_dead_letter(
        self, orchestrator: Orchestrator, how: dict[str, Any]
    ) -> None:
        self.published(orchestrator)

        handled = consumer_of(orchestrator, "tasks", spin).consume(1, **how)

        (letter,) = orchestrator.dead_letters("tasks")
        assert handled == 1
        assert letter.error_type == "JobTimeoutError"
        assert letter.job_id in letter.message

    def test_the_next_job_has_all_its_time(self, orchestrator: Orchestrator) -> None:
        self.published(orchestrator, 3)
        runs: list[str] = []

        def run(job: Any) -> None:
            runs.append(job.id)
            if len(runs) == 1:
                rest(job)

        handled = consumer_of(orchestrator, "tasks", run).consume(3)

        assert handled == 3
        assert len(orchestrator.dead_letters("tasks")) == 1

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_an_async_handler_is_ended_at_its_next_await(
        self, orchestrator: Orchestrator, concurrency: int
    ) -> None:
        self.published(orchestrator, 3)
        cleaned: list[str] = []

        async def run(job: Any) -> None:
            try:
                await asyncio.sleep(5)
            finally:
                cleaned.append(job.id)

        consumer = AsyncRunner(run)
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        handled = consumer.consume(3, concurrency=concurrency)

        letters = orchestrator.dead_letters("tasks")
        assert handled == len(cleaned) == 3
        assert {each.error_type for each in letters} == {"JobTimeoutError"}
        assert "within 0.1 s" in letters[0].message

    def test_an_async_handlers_own_timeout_is_its_own_error(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("tasks", timeout=5)
        orchestrator.publish("tasks", Job(name="any", payload={}))

        async def run(_: Any) -> None:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)

        consumer = AsyncRunner(run)
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        consumer.consume(1)

        assert orchestrator.dead_letters("tasks")[0].error_type == "TimeoutError"
