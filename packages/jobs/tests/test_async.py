"""`async def` handlers: one loop, many jobs, one hold."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import AsyncRunner, Pair, Sum, sums

from mindtrace.jobs import (
    Consumer,
    Job,
    JobCancelledError,
    JobSchema,
    Orchestrator,
    Reject,
    Retry,
    RetryPolicy,
    handler,
)
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def consumer_of(orchestrator: Orchestrator, run: Callable[[Any], Awaitable[Any]]) -> Consumer:
    consumer = AsyncRunner(run)
    consumer.connect_to_orchestrator(orchestrator, "tasks")
    return consumer


def publish(orchestrator: Orchestrator, count: int) -> list[str]:
    orchestrator.declare_queue("tasks")
    return orchestrator.publish_many(
        "tasks", [Job(name="any", payload={"n": each}) for each in range(count)]
    )


def test_jobs_run_at_the_same_time_on_one_loop(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 5)
    threads: set[int] = set()
    together = asyncio.Barrier(5)

    async def run(_: Any) -> None:
        threads.add(threading.get_ident())
        await asyncio.wait_for(together.wait(), 10)

    handled = consumer_of(orchestrator, run).consume(5, concurrency=5)

    assert handled == 5
    assert len(threads) == 1
    assert orchestrator.dead_letters("tasks") == []


def test_no_more_run_than_were_asked_for(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 12)
    running = 0
    most = 0

    async def run(_: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    consumer_of(orchestrator, run).consume(12, concurrency=3)

    assert most == 3


def test_a_finished_job_is_settled_while_others_run(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 2)
    go = threading.Event()

    async def run(job: Any) -> None:
        if job.payload["n"] == 0:
            await asyncio.to_thread(go.wait, 10)

    consuming = Background(lambda: consumer_of(orchestrator, run).consume(2, concurrency=2))
    eventually(
        lambda: (
            orchestrator.count_queue_messages("tasks") == 0
            and orchestrator.queue_stats("tasks").leased == 1
        )
    )
    go.set()

    assert consuming.result() == 2


def test_a_finished_job_is_settled_while_the_lane_waits_for_more(
    orchestrator: Orchestrator,
) -> None:
    publish(orchestrator, 1)
    consumer = consumer_of(orchestrator, _quick)
    consuming = Background(lambda: consumer.consume(concurrency=4))

    eventually(
        lambda: (
            orchestrator.count_queue_messages("tasks") == 0
            and orchestrator.queue_stats("tasks").leased == 0
        )
    )
    consumer.stop()

    assert consuming.result() == 1


async def _quick(_: Any) -> None:
    await asyncio.sleep(0.02)


def test_a_typed_function_may_be_async(orchestrator: Orchestrator) -> None:
    schema = sums()

    @schema.handler
    async def total(pair: Pair) -> Sum:
        await asyncio.sleep(0)
        return Sum(total=pair.a + pair.b)

    total.connect(orchestrator)
    handle = orchestrator.submit(schema, Pair(a=1, b=2))

    total.consume(1)

    assert handle.result(0) == Sum(total=3)
    assert asyncio.run(total(Pair(a=4))) == Sum(total=4)


def test_an_object_with_an_async_call_is_async_too(orchestrator: Orchestrator) -> None:
    class Adder:
        async def __call__(self, pair: Pair) -> Sum:
            await asyncio.sleep(0)
            return Sum(total=pair.a + pair.b)

    consumer = handler(sums())(Adder())
    consumer.connect(orchestrator)
    handle = orchestrator.submit(sums(), Pair(a=1, b=2))

    consumer.consume(1)

    assert handle.result(0) == Sum(total=3)


def test_what_it_raises_is_the_outcome(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 4)
    errors: list[BaseException] = [
        LookupError("a"),
        Reject("b"),
        asyncio.CancelledError(),
        SystemExit(),
    ]

    async def run(job: Any) -> None:
        raise errors[job.payload["n"]]

    handled = consumer_of(orchestrator, run).consume(4)

    letters = orchestrator.dead_letters("tasks")
    assert handled == 4
    assert [each.error_type for each in letters] == [
        "LookupError",
        "Reject",
        "CancelledError",
        "SystemExit",
    ]
    assert letters[0].traceback.rstrip().endswith("LookupError: a")
    assert "in run" in letters[0].traceback


def test_a_failed_job_is_tried_again(orchestrator: Orchestrator) -> None:
    orchestrator.declare_queue("tasks", retry=RetryPolicy(3, backoff=0, jitter=0))
    orchestrator.publish("tasks", Job(name="any", payload={}))
    attempts: list[int] = []

    async def run(job: Any) -> None:
        attempts.append(job.attempts)
        if job.attempts == 0:
            raise LookupError
        if job.attempts == 1:
            raise Retry(after=0)

    consumer_of(orchestrator, run).consume(3)

    assert attempts == [0, 1, 2]
    assert orchestrator.dead_letters("tasks") == []


def test_a_message_that_is_no_job_is_a_dead_letter(orchestrator: Orchestrator) -> None:
    orchestrator.register(sums("tasks"))
    orchestrator.backend.publish("tasks", Job(name="any", payload="bad"))
    orchestrator.publish("tasks", Pair())

    handled = consumer_of(orchestrator, _quick).consume(2)

    assert handled == 2
    assert [each.reason for each in orchestrator.dead_letters("tasks")] == ["invalid"]


def test_a_result_that_does_not_fit_fails_the_job(orchestrator: Orchestrator) -> None:
    async def run(_: Any) -> dict[str, str]:
        return {"total": "x"}

    orchestrator.submit(sums("tasks"), Pair())

    consumer_of(orchestrator, run).consume(1)

    assert orchestrator.dead_letters("tasks")[0].error_type == "JobValidationError"


def test_a_cancelled_job_ends_at_its_next_await(orchestrator: Orchestrator) -> None:
    began = threading.Event()
    ended: list[str] = []

    async def run(_: Any) -> None:
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    handle = orchestrator.submit(JobSchema(name="tasks"), {})
    consuming = Background(lambda: consumer_of(orchestrator, run).consume(1))
    began.wait(10)

    handle.cancel()
    consuming.result()

    assert ended == ["cancelled"]
    with pytest.raises(JobCancelledError):
        handle.result(0)


def test_only_the_job_that_was_cancelled_ends(orchestrator: Orchestrator) -> None:
    schema = JobSchema(name="tasks")
    handles = [orchestrator.submit(schema, {"n": each}) for each in range(2)]
    go = threading.Event()

    async def run(_: Any) -> str:
        await asyncio.to_thread(go.wait, 10)
        return "done"

    consuming = Background(lambda: consumer_of(orchestrator, run).consume(2, concurrency=2))
    eventually(lambda: orchestrator.queue_stats("tasks").leased == 2)

    handles[0].cancel()
    eventually(lambda: handles[0].status == "cancelled")
    go.set()
    consuming.result()

    assert handles[1].result(0) == "done"


def test_a_handler_may_ask_whether_it_was_cancelled(orchestrator: Orchestrator) -> None:
    began = threading.Event()
    answers: list[bool] = []

    async def run(_: Any) -> None:
        answers.append(Consumer.cancelled())
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            answers.append(Consumer.cancelled())

    handle = orchestrator.submit(JobSchema(name="tasks"), {})
    consuming = Background(lambda: consumer_of(orchestrator, run).consume(1))
    began.wait(10)
    handle.cancel()

    consuming.result()

    assert answers == [False, True]
    assert handle.status == "cancelled"


def test_progress_belongs_to_each_job(orchestrator: Orchestrator) -> None:
    handles = [orchestrator.submit(JobSchema(name="tasks"), {"n": each}) for each in range(3)]
    together = asyncio.Barrier(3)

    async def run(job: Any) -> None:
        with Consumer.progress(9) as progress:
            await together.wait()
            progress.update(job.payload["n"])

    consumer_of(orchestrator, run).consume(3, concurrency=3)

    assert [each.progress and each.progress.done for each in handles] == [0, 1, 2]


def test_a_handler_that_blocks_holds_up_the_loop_and_loses_nothing(
    orchestrator: Orchestrator,
) -> None:
    publish(orchestrator, 6)

    async def run(_: Any) -> None:
        threading.Event().wait(0.05)

    handled = consumer_of(orchestrator, run).consume(6, concurrency=3)

    assert handled == 6
    assert orchestrator.queue_stats("tasks").leased == 0


def test_a_loop_that_runs_already_is_no_hindrance(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 2)

    async def main() -> int:
        return consumer_of(orchestrator, _quick).consume(2)

    assert asyncio.run(main()) == 2


def test_stopping_finishes_what_runs(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 6)
    began, go = threading.Semaphore(0), threading.Event()

    async def run(_: Any) -> None:
        began.release()
        await asyncio.to_thread(go.wait, 10)

    consumer = consumer_of(orchestrator, run)
    consuming = Background(lambda: consumer.consume(concurrency=2))
    for _ in range(2):
        assert began.acquire(timeout=10)

    consumer.stop()
    go.set()

    assert consuming.result() == 2
    assert orchestrator.count_queue_messages("tasks") == 4
    assert orchestrator.dead_letters("tasks") == []


def test_without_blocking_it_waits_for_what_runs_and_for_what_comes_of_it(
    orchestrator: Orchestrator,
) -> None:
    publish(orchestrator, 1)

    async def run(job: Any) -> None:
        if job.payload["n"] < 3:
            await asyncio.sleep(0.01)
            await asyncio.to_thread(
                orchestrator.publish, "tasks", Job(name="any", payload={"n": job.payload["n"] + 1})
            )

    assert consumer_of(orchestrator, run).consume(block=False, concurrency=2) == 4


def test_stopping_waits_for_each_that_runs(orchestrator: Orchestrator) -> None:
    publish(orchestrator, 2)
    go: list[threading.Event] = [threading.Event(), threading.Event()]

    async def run(job: Any) -> None:
        number: int = job.payload["n"]
        await asyncio.to_thread(go[number].wait, 10)

    consumer = consumer_of(orchestrator, run)
    consuming = Background(lambda: consumer.consume(concurrency=2))
    eventually(lambda: orchestrator.queue_stats("tasks").leased == 2)

    consumer.stop()
    go[0].set()
    eventually(lambda: orchestrator.queue_stats("tasks").leased == 1)
    go[1].set()

    assert consuming.result() == 2
