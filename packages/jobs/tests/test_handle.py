"""A job seen by whoever submitted it: status, result, progress, cancelling, awaiting."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import Pair, Sum, add, consumer_of, drain, fail, nothing, sums
from pydantic import BaseModel

from mindtrace.jobs import (
    Consumer,
    ExecutionStatus,
    Job,
    JobCancelledError,
    JobFailedError,
    JobHandle,
    JobNotFoundError,
    JobSchema,
    JobTimeoutError,
    Orchestrator,
    ProgressReport,
    Reject,
    Retry,
)
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.core import ManualClock


class Gate:
    """A handler that tells when it began and waits to be let on."""

    def __init__(self, then: Callable[[Any], Any] = nothing) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self._then = then

    def __call__(self, job: Any) -> Any:
        self.began.set()
        assert self.go.wait(10)
        return self._then(job)


class TestStatus:
    def test_it_follows_the_job(self, orchestrator: Orchestrator) -> None:
        gate = Gate(add)
        handle = orchestrator.submit(sums(), Pair(a=1))
        queued = handle.status
        consuming = Background(lambda: drain(orchestrator, "sums", gate))
        gate.began.wait(10)
        running = handle.status

        gate.go.set()
        consuming.result()

        assert (queued, running) == (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)
        assert handle.status == ExecutionStatus.COMPLETED

    def test_a_delayed_job_is_queued(self, orchestrator: Orchestrator) -> None:
        assert orchestrator.submit(sums(), delay=60).status == "queued"

    def test_a_dead_job_has_failed(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        drain(orchestrator, "sums", fail)

        assert handle.status == "failed"

    def test_a_job_that_will_run_again_is_queued(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        def later(_: Any) -> None:
            raise Retry(after=60)

        drain(orchestrator, "sums", later)

        assert handle.status == "queued"

    def test_nothing_is_known_of_an_unknown_job(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.handle("unknown")

        for look in (lambda: handle.status, lambda: handle.progress, handle.result):
            with pytest.raises(JobNotFoundError, match="'unknown'"):
                look()

    def test_a_handle_is_made_without_a_look(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.handle("any")

        assert repr(handle) == "JobHandle('any')"
        assert handle.id == handle.job_id == "any"
        assert isinstance(orchestrator.backend.handle("any"), JobHandle)


class TestResult:
    def test_it_is_the_output_model(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1, b=2))

        drain(orchestrator, "sums", add)

        assert handle.result() == Sum(total=3)

    def test_a_handle_made_of_an_id_gives_the_model_too(self, orchestrator: Orchestrator) -> None:
        job_id = orchestrator.submit(sums(), Pair(a=1, b=2)).id

        drain(orchestrator, "sums", add)

        assert orchestrator.handle(job_id).result(0) == Sum(total=3)

    def test_a_handler_may_return_the_model_itself(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair())

        drain(orchestrator, "sums", lambda _: Sum(total=9))

        assert handle.result(0) == Sum(total=9)

    def test_a_handler_that_returns_none_has_none(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair())

        drain(orchestrator, "sums", nothing)

        assert handle.result(0) is None
        assert handle.status == "completed"

    @pytest.mark.parametrize("output", [0, "", [], {"x": [1, None, 2.5]}, False, [{"deep": [1]}]])
    def test_without_a_model_plain_values_come_back(
        self, orchestrator: Orchestrator, output: Any
    ) -> None:
        handle = orchestrator.submit(JobSchema(name="plain"), {})

        drain(orchestrator, "plain", lambda _: output)

        assert handle.result(0) == output

    def test_what_json_can_say_is_said(self, orchestrator: Orchestrator) -> None:
        class Point(BaseModel):
            x: int

        handle = orchestrator.submit(JobSchema(name="plain"), {})

        drain(orchestrator, "plain", lambda _: {"points": (Point(x=1), Point(x=2))})

        assert handle.result(0) == {"points": [{"x": 1}, {"x": 2}]}

    def test_it_waits_for_the_job(self, orchestrator: Orchestrator) -> None:
        gate = Gate(add)
        handle = orchestrator.submit(sums(), Pair(a=1))
        waiting = Background(lambda: handle.result(timeout=10))
        consuming = Background(lambda: drain(orchestrator, "sums", gate))
        gate.began.wait(10)

        assert not waiting.done.is_set()
        gate.go.set()

        assert waiting.result() == Sum(total=1)
        consuming.result()

    def test_it_waits_for_ever_when_told_nothing(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1))
        waiting = Background(handle.result)

        assert not waiting.done.wait(1.2)
        drain(orchestrator, "sums", add)

        assert waiting.result() == Sum(total=1)

    def test_it_waits_no_longer_than_told(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        def look() -> None:
            with pytest.raises(JobTimeoutError, match=r"did not finish within 0.2 s") as caught:
                handle.result(timeout=0.2)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.seconds == 0.2

        assert 0.15 < seconds_of(look) < 10

    def test_zero_looks_once(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        with pytest.raises(JobTimeoutError):
            handle.result(timeout=0)

    def test_a_failed_job_raises_with_the_remote_traceback(
        self, orchestrator: Orchestrator
    ) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1))

        drain(orchestrator, "sums", fail)

        with pytest.raises(JobFailedError, match="LookupError: cannot add") as caught:
            handle.result(0)
        assert caught.value.job_id == handle.id
        assert caught.value.error_type == "LookupError"
        assert "in fail" in caught.value.remote_traceback
        assert "Remote traceback" in str(caught.value)

    def test_a_rejected_job_raises_its_reason(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        def reject(_: Any) -> None:
            message = "no such shape"
            raise Reject(message)

        drain(orchestrator, "sums", reject)

        with pytest.raises(JobFailedError, match="no such shape"):
            handle.result(0)

    def test_a_failed_plain_publish_can_be_asked_too(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        job_id = orchestrator.publish("tasks", Job(name="any", payload={}))

        drain(orchestrator, "tasks", fail)

        with pytest.raises(JobFailedError):
            orchestrator.handle(job_id).result(0)

    def test_a_deleted_queue_takes_the_job_with_it(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())
        waiting = Background(lambda: handle.result(10))

        orchestrator.delete_queue("sums")

        with pytest.raises(JobNotFoundError):
            waiting.result()

    def test_an_expired_job_says_so(self, timed: Orchestrator, clock: ManualClock) -> None:
        handle = timed.submit(sums(), ttl=5)

        clock.advance(5)

        with pytest.raises(JobCancelledError, match="expired"):
            handle.result(0)

    def test_a_purged_job_says_so(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        orchestrator.clean_queue("sums")

        with pytest.raises(JobCancelledError, match="purged"):
            handle.result(0)


class TestCancelling:
    def test_a_waiting_job_is_gone_at_once(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        cancelled = handle.cancel()

        assert cancelled
        assert handle.status == "cancelled"
        assert drain(orchestrator, "sums") == 0
        with pytest.raises(JobCancelledError) as caught:
            handle.result(0)
        assert caught.value.job_id == handle.id

    def test_a_delayed_job_too(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), delay=60)

        assert orchestrator.cancel(handle.id)
        assert handle.status == "cancelled"

    def test_a_running_job_is_told(self, orchestrator: Orchestrator) -> None:
        began = threading.Event()

        def run(job: Any) -> dict[str, float]:
            began.set()
            eventually(Consumer.cancelled)
            return add(job)

        handle = orchestrator.submit(sums())
        consuming = Background(lambda: drain(orchestrator, "sums", run))
        began.wait(10)

        asked = handle.cancel()
        consuming.result()

        assert asked
        assert handle.status == "cancelled"
        assert orchestrator.queue_stats("sums").dead == 0

    def test_a_running_job_may_raise_when_it_is_told(self, orchestrator: Orchestrator) -> None:
        began = threading.Event()

        def run(_: Any) -> None:
            began.set()
            eventually(Consumer.cancelled)
            raise LookupError

        handle = orchestrator.submit(sums())
        consuming = Background(lambda: drain(orchestrator, "sums", run))
        began.wait(10)
        handle.cancel()
        consuming.result()

        with pytest.raises(JobCancelledError):
            handle.result(0)
        assert orchestrator.dead_letters("sums") == []

    def test_a_finished_job_cannot_be_cancelled(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1))
        drain(orchestrator, "sums", add)

        assert handle.cancel() is False
        assert handle.result(0) == Sum(total=1)

    def test_an_unknown_job_cannot_be_cancelled(self, orchestrator: Orchestrator) -> None:
        assert orchestrator.cancel("unknown") is False

    def test_the_next_job_is_not_cancelled_with_it(self, orchestrator: Orchestrator) -> None:
        began = threading.Event()
        seen: list[bool] = []

        def run(job: Any) -> None:
            if job.payload["a"] == 0:
                began.set()
                eventually(Consumer.cancelled)
            seen.append(Consumer.cancelled())

        handles = [orchestrator.submit(sums(), Pair(a=each)) for each in range(2)]
        consuming = Background(lambda: drain(orchestrator, "sums", run))
        began.wait(10)
        handles[0].cancel()
        consuming.result()

        assert seen == [True, False]
        assert [str(each.status) for each in handles] == ["cancelled", "completed"]


class TestProgress:
    def test_it_can_be_read_while_the_job_runs(self, orchestrator: Orchestrator) -> None:
        half, go = threading.Event(), threading.Event()

        def run(_: Any) -> None:
            with Consumer.progress(4) as progress:
                for each in range(4):
                    progress.advance()
                    if each == 1:
                        progress.update(2)
                        half.set()
                        assert go.wait(10)

        handle = orchestrator.submit(sums())
        before = handle.progress
        consuming = Background(lambda: drain(orchestrator, "sums", run))
        half.wait(10)
        during = handle.progress
        go.set()
        consuming.result()

        assert before is None
        assert during is not None
        assert 0 <= during.done <= 2
        assert handle.progress == ProgressReport(4, 4)

    def test_a_total_is_not_needed(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        def run(_: Any) -> None:
            with Consumer.progress() as progress:
                progress.update(2.5)

        drain(orchestrator, "sums", run)

        assert handle.progress == ProgressReport(2.5, None)

    def test_a_block_that_did_nothing_says_nothing_is_done(
        self, orchestrator: Orchestrator
    ) -> None:
        handle = orchestrator.submit(sums())

        def run(_: Any) -> None:
            with Consumer.progress(3):
                pass

        drain(orchestrator, "sums", run)

        assert handle.progress == ProgressReport(0, 3)

    def test_without_a_block_it_is_written_now_and_then(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums())

        def run(_: Any) -> None:
            progress = Consumer.progress(100)
            for _ in range(3):
                progress.advance()

        drain(orchestrator, "sums", run)

        assert handle.progress == ProgressReport(1, 100)

    def test_a_store_that_is_away_loses_progress_and_not_the_job(
        self, orchestrator: Orchestrator
    ) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1))

        def run(job: Any) -> dict[str, float]:
            store: Any = orchestrator.backend.store
            database = store.database
            with database.writing() as connection:
                connection.execute("alter table jobs rename to away")
            with Consumer.progress(3) as progress:
                progress.advance()
            with database.writing() as connection:
                connection.execute("alter table away rename to jobs")
            return add(job)

        drain(orchestrator, "sums", run)

        assert handle.result(0) == Sum(total=1)


class TestAwaiting:
    def test_a_handle_can_be_awaited(self, orchestrator: Orchestrator) -> None:
        async def main() -> Any:
            handle = orchestrator.submit(sums(), Pair(a=1, b=2))
            consuming = Background(lambda: drain(orchestrator, "sums", add))
            result = await handle
            consuming.result()
            return result

        assert asyncio.run(main()) == Sum(total=3)

    def test_the_loop_goes_on_meanwhile(self, orchestrator: Orchestrator) -> None:
        async def main() -> tuple[Any, int]:
            handle = orchestrator.submit(sums(), Pair(a=1))
            beats = 0
            waiting = asyncio.ensure_future(handle)
            for _ in range(5):
                await asyncio.sleep(0)
                beats += 1
            drain(orchestrator, "sums", add)
            return await waiting, beats

        assert asyncio.run(main()) == (Sum(total=1), 5)

    def test_it_waits_longer_than_one_look(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1))

        async def main() -> Any:
            waiting = asyncio.ensure_future(handle)
            _, pending = await asyncio.wait([waiting], timeout=1.3)
            assert pending == {waiting}
            drain(orchestrator, "sums", add)
            return await waiting

        assert asyncio.run(main()) == Sum(total=1)

    def test_it_raises_what_result_raises(self, orchestrator: Orchestrator) -> None:
        async def main() -> None:
            handle = orchestrator.submit(sums())
            handle.cancel()
            await handle

        with pytest.raises(JobCancelledError):
            asyncio.run(main())

    def test_several_are_awaited_together(self, orchestrator: Orchestrator) -> None:
        async def main() -> list[Any]:
            handles = [orchestrator.submit(sums(), Pair(a=each)) for each in range(4)]
            consuming = Background(lambda: consumer_of(orchestrator, "sums", add).consume(4))

            async def wait(handle: JobHandle) -> Any:
                return await handle

            found = await asyncio.gather(*[wait(each) for each in handles])
            consuming.result()
            return found

        assert asyncio.run(main()) == [Sum(total=each) for each in range(4)]
