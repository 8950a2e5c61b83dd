"""Rules 7, 9 to 11, 14, 16, 20 to 22 as a user meets them: orchestrator, consumer, handle."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from mindtrace.jobs import (
    Consumer,
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobSchema,
    JobTimeoutError,
    Orchestrator,
    OrchestratorBackend,
    Reject,
    Retry,
    RetryPolicy,
    UnsupportedByBackendError,
)
from mindtrace.jobs.backend import Entry
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.testing.harness import Counts, Harness
from mindtrace.jobs.testing.waiting import Background, eventually, pause

if TYPE_CHECKING:
    from collections.abc import Callable


class Numbers(BaseModel):
    """What goes in."""

    a: int = 0
    b: int = 0


class Total(BaseModel):
    """What comes out."""

    total: int


class Runner(Consumer):
    """A consumer whose handler is a function of the test."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        super().__init__()
        self.handle = run

    def run(self, job_dict: Any) -> Any:
        """Run the function."""
        return self.handle(job_dict)


class AsyncRunner(Consumer):
    """A consumer whose handler is a coroutine function of the test."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        super().__init__()
        self.handle = run

    async def run(self, job_dict: Any) -> Any:
        """Run the coroutine."""
        return await self.handle(job_dict)


class Bench:
    """An orchestrator with one registered schema, on a client of the harness."""

    def __init__(
        self,
        harness: Harness,
        client: OrchestratorBackend | None = None,
        *,
        queue_type: Any = None,
        output: type[BaseModel] | None = None,
        **options: Any,
    ) -> None:
        self.harness = harness
        self.client = client or harness.client
        self.orchestrator = Orchestrator(self.client)
        self.schema = JobSchema(
            name=harness.unique("numbers"), input_schema=Numbers, output_schema=output
        )
        self.queue = self.orchestrator.register(self.schema, queue_type, **options)

    def publish(self, count: int = 1, **options: Any) -> list[str]:
        """Publish jobs with a = 0, 1, 2, ..."""
        return [
            self.orchestrator.publish(self.queue, Numbers(a=each), **options)
            for each in range(count)
        ]

    def consumer(
        self, run: Callable[[Any], Any], kind: type[Runner | AsyncRunner] = Runner
    ) -> Consumer:
        """Return a consumer of the queue."""
        consumer = kind(run)
        consumer.connect_to_orchestrator(self.orchestrator, self.queue)
        return consumer

    def consume(self, run: Callable[[Any], Any], **how: Any) -> int:
        """Handle what is ready."""
        how.setdefault("block", False)
        return self.consumer(run).consume(**how)

    def counts(self) -> Counts:
        """Count the jobs by state."""
        found = self.client.store.stats(self.queue)
        return Counts(found.ready, found.delayed, found.leased, found.dead)


def failing(job: Any) -> None:
    """Fail, as handlers do."""
    message = f"cannot add {job['payload']['a']}"
    raise LookupError(message)


class Rule07Retry:
    """One attempt unless somebody said otherwise; a handler can ask for more or for none."""

    def test_a_job_whose_handler_raises_is_dead_after_one_attempt(self, harness: Harness) -> None:
        bench = Bench(harness)
        (job_id,) = bench.publish()

        assert bench.consume(failing) == 1

        assert bench.counts() == Counts(dead=1)
        (dead,) = bench.orchestrator.dead_letters(bench.queue)
        assert (dead.job_id, dead.reason, dead.attempts) == (job_id, "failed", 1)
        assert dead.error_type.endswith("LookupError")
        assert dead.message == "cannot add 0"
        assert "in failing" in dead.traceback
        assert dead.job is not None
        assert dead.job["payload"] == {"a": 0, "b": 0}

    def test_the_policy_of_a_queue_runs_it_again_after_a_pause(self, harness: Harness) -> None:
        pauses = (harness.span(10), harness.span(20))
        bench = Bench(harness, retry=RetryPolicy(max_attempts=3, backoff=pauses, jitter=0))
        bench.publish()
        seen: list[int] = []

        def run(job: Any) -> None:
            seen.append(job["attempts"])
            if len(seen) < 3:
                failing(job)

        for seconds in (12, 22, 1):
            assert bench.consume(run) == 1
            assert bench.consume(run) == 0
            assert bench.counts() == Counts(delayed=int(len(seen) < 3))
            harness.advance(seconds)

        assert seen == [0, 1, 2]

    def test_after_the_last_attempt_it_is_dead(self, harness: Harness) -> None:
        bench = Bench(harness, retry=RetryPolicy(max_attempts=2, backoff=0.0, jitter=0))
        bench.publish()

        assert bench.consume(failing) == 2

        (dead,) = bench.orchestrator.dead_letters(bench.queue)
        assert (dead.attempts, dead.lost) == (2, 0)

    def test_the_policy_of_a_publish_wins_over_the_queues(self, harness: Harness) -> None:
        bench = Bench(harness, retry=RetryPolicy(max_attempts=5, backoff=0.0))
        bench.publish(retry=RetryPolicy(max_attempts=1))
        bench.publish(retry=RetryPolicy(max_attempts=3, backoff=0.0))

        assert bench.consume(failing) == 4
        assert bench.counts() == Counts(dead=2)

    def test_an_error_that_the_policy_does_not_name_is_final(self, harness: Harness) -> None:
        policy = RetryPolicy(max_attempts=5, backoff=0.0, on=("OSError",))
        bench = Bench(harness, retry=policy)
        bench.publish()

        assert bench.consume(failing) == 1
        assert bench.counts() == Counts(dead=1)

    def test_a_handler_asks_to_run_again_later(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.publish()

        def run(job: Any) -> None:
            if job["attempts"] < 2:
                raise Retry(after=harness.span(10))

        for _ in range(2):
            assert bench.consume(run) == 1
            assert bench.counts() == Counts(delayed=1)
            harness.advance(12)
        assert bench.consume(run) == 1
        assert bench.counts() == Counts()

    def test_a_handler_rejects_whatever_the_policy_says(self, harness: Harness) -> None:
        bench = Bench(harness, retry=RetryPolicy(max_attempts=5, backoff=0.0))
        bench.publish()

        def run(_: Any) -> None:
            raise Reject("no such customer")

        assert bench.consume(run) == 1
        (dead,) = bench.orchestrator.dead_letters(bench.queue)
        assert (dead.reason, dead.message, dead.attempts) == ("rejected", "no such customer", 1)

    def test_a_requeued_job_has_its_attempts_again(self, harness: Harness) -> None:
        bench = Bench(harness, retry=RetryPolicy(max_attempts=2, backoff=0.0))
        (job_id,) = bench.publish()
        bench.consume(failing)

        assert bench.orchestrator.requeue_dead_letters(bench.queue, job_id) == 1

        assert bench.consume(failing) == 2
        assert bench.counts() == Counts(dead=1)


def leased_seen(bench: Bench, seen: list[int], seconds: float = 0.0) -> Callable[[Any], None]:
    """Return a handler that notes how many jobs are leased, and takes so long."""

    def run(_: Any) -> None:
        seen.append(bench.counts().leased)
        if seconds:
            pause(seconds)

    return run


class Rule09PriorityIsNeverInverted:
    """A consumer of a priority queue holds no second job while a handler runs."""

    def test_a_job_published_while_another_runs_is_next_if_it_is_more_urgent(
        self, harness: Harness
    ) -> None:
        bench = Bench(harness, queue_type="priority")
        bench.publish(6, priority=1)
        found: list[int] = []

        def run(job: Any) -> None:
            found.append(job["priority"])
            if len(found) == 3:
                bench.publish(priority=9)

        assert bench.consume(run) == 7
        assert found == [1, 1, 1, 9, 1, 1, 1]

    def test_it_holds_one_job_however_short_they_are(self, harness: Harness) -> None:
        bench = Bench(harness, queue_type="priority")
        bench.publish(20)
        seen: list[int] = []

        bench.consume(leased_seen(bench, seen))

        assert set(seen) == {1}

    def test_it_holds_more_when_told_to(self, harness: Harness) -> None:
        bench = Bench(harness, queue_type="priority")
        bench.publish(8)
        seen: list[int] = []

        bench.consume(leased_seen(bench, seen), prefetch=4)

        assert max(seen) == 4


class Rule10AdaptivePrefetch:
    """Short jobs travel in batches, long ones alone; never more than may still be handled."""

    def test_long_jobs_travel_alone(self, harness: Harness) -> None:
        bench = Bench(harness, harness.open_real())
        bench.publish(5)
        seen: list[int] = []

        bench.consume(leased_seen(bench, seen, 0.12))

        assert seen == [1] * 5

    def test_short_jobs_travel_in_batches(self, harness: Harness) -> None:
        bench = Bench(harness, harness.open_real())
        bench.publish(60)
        seen: list[int] = []

        bench.consume(leased_seen(bench, seen))

        assert seen[0] == 1, "the first travels alone: nothing is known yet"
        assert max(seen) > 1

    def test_no_more_is_held_than_may_still_be_handled(self, harness: Harness) -> None:
        bench = Bench(harness, harness.open_real())
        bench.publish(40)
        left: list[int] = []

        handled = bench.consume(lambda _: left.append(bench.counts().ready), num_messages=12)

        assert handled == 12
        assert min(left) >= 28
        assert bench.counts() == Counts(ready=28)

    def test_a_fixed_number_overrides(self, harness: Harness) -> None:
        bench = Bench(harness, harness.open_real())
        bench.publish(12)
        seen: list[int] = []

        bench.consume(leased_seen(bench, seen), prefetch=3)

        assert max(seen) == 3

    def test_jobs_held_behind_one_that_takes_long_are_given_back(self, harness: Harness) -> None:
        bench = Bench(harness, harness.open_real())
        bench.publish(30)
        long = threading.Event()
        done: list[str] = []

        def run(job: Any) -> None:
            done.append(job["id"])
            if len(done) == 12:
                long.set()
                eventually(lambda: bench.counts().leased <= 1, what="giving back")

        assert bench.consume(run) == 30
        assert long.is_set()
        assert len(set(done)) == 30


class Rule11Stop:
    """The job in hand is finished and settled, the others are released, and `consume` returns."""

    def test_stop_finishes_the_job_in_hand_and_releases_the_others(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.publish(6)
        consumer = bench.consumer(lambda _: consumer.stop())

        assert consumer.consume(prefetch=4) == 1

        assert bench.counts() == Counts(ready=5)
        seen: list[tuple[int, int]] = []
        bench.consume(lambda job: seen.append((job["attempts"], job["lost"])))
        assert seen == [(0, 0)] * 5

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_an_idle_consumer_stops_at_once(self, harness: Harness, concurrency: int) -> None:
        bench = Bench(harness, harness.open_real())
        began = threading.Event()
        consumer = bench.consumer(lambda _: began.set())
        bench.publish()
        running = Background(lambda: consumer.consume(concurrency=concurrency))
        assert began.wait(20)
        pause(0.05)

        consumer.stop()

        assert running.result() == 1

    def test_an_async_consumer_stops_too(self, harness: Harness) -> None:
        bench = Bench(harness, harness.open_real())
        bench.publish(3)

        async def run(_: Any) -> None:
            consumer.stop()
            await asyncio.sleep(0.05)

        consumer = bench.consumer(run, AsyncRunner)

        assert consumer.consume() == 1
        assert bench.counts() == Counts(ready=2)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_stops_and_the_former_handlers_come_back(
        self, harness: Harness, number: signal.Signals
    ) -> None:
        bench = Bench(harness)
        bench.publish(3)
        before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

        def run(_: Any) -> None:
            os.kill(os.getpid(), number)
            pause(0.05)

        assert bench.consumer(run).consume(prefetch=3) == 1

        assert bench.counts() == Counts(ready=2)
        assert before == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    def test_a_second_signal_stops_at_once_and_the_job_is_lost(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.publish(2)

        def run(_: Any) -> None:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                pause(0.05)
            message = "the second signal must end the handler"
            raise AssertionError(message)

        bench.consumer(run).consume()

        assert bench.counts() == Counts(ready=2)
        lost: list[int] = []
        bench.consume(lambda job: lost.append(job["lost"]))
        assert sorted(lost) == [0, 1]

    def test_outside_of_the_main_thread_signals_are_left_alone(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.publish()
        seen: list[object] = []
        before = signal.getsignal(signal.SIGTERM)

        def run(_: Any) -> None:
            seen.append(signal.getsignal(signal.SIGTERM))

        assert Background(lambda: bench.consume(run)).result() == 1
        assert seen == [before]

    def test_a_stopped_consumer_can_consume_again(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.publish(2)
        consumer = bench.consumer(lambda _: consumer.stop())

        assert [consumer.consume(), consumer.consume()] == [1, 1]
        assert bench.counts() == Counts()


class Rule14Results:
    """What a handler returns is validated, and kept where somebody asked for it."""

    def test_the_result_is_read_as_the_output_model(self, harness: Harness) -> None:
        bench = Bench(harness, output=Total)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers(a=7, b=3))
        assert str(handle.status.value) == "queued"
        with pytest.raises(JobTimeoutError):
            handle.result(timeout=0)

        bench.consume(lambda job: {"total": job["payload"]["a"] + job["payload"]["b"]})

        assert handle.result(timeout=1) == Total(total=10)
        assert handle.result(timeout=0) == Total(total=10), "reading changes nothing"
        assert str(handle.status.value) == "completed"

    def test_a_handler_that_returns_none_has_no_result(self, harness: Harness) -> None:
        bench = Bench(harness, output=Total)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers())

        bench.consume(lambda _: None)

        assert handle.result(timeout=1) is None

    def test_an_output_that_does_not_fit_fails_the_job_and_names_the_field(
        self, harness: Harness
    ) -> None:
        bench = Bench(harness, output=Total)
        bench.publish()

        bench.consume(lambda _: {"total": "many"})

        (dead,) = bench.orchestrator.dead_letters(bench.queue)
        assert "total" in dead.message
        assert "many" not in dead.message, "no message holds a value"

    def test_a_failed_job_raises_with_the_remote_traceback(self, harness: Harness) -> None:
        bench = Bench(harness)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers(a=5))
        bench.consume(failing)

        with pytest.raises(JobFailedError, match="cannot add 5") as caught:
            handle.result(timeout=1)

        assert "in failing" in caught.value.remote_traceback

    def test_a_plain_publish_keeps_nothing_and_can_be_told_to(self, harness: Harness) -> None:
        bench = Bench(harness)
        if _refuses_to_submit(bench):
            return
        (plain,) = bench.publish()
        (kept,) = bench.publish(keep_result=True, result_ttl=harness.span(100))
        bench.consume(lambda job: job["payload"])

        with pytest.raises(JobNotFoundError):
            bench.orchestrator.handle(plain).result(timeout=0)
        handle = bench.orchestrator.handle(kept)
        assert handle.result(timeout=0) == {"a": 0, "b": 0}
        harness.advance(102)
        with pytest.raises(JobNotFoundError):
            handle.result(timeout=0)

    def test_progress_is_seen_while_the_job_runs(self, harness: Harness) -> None:
        bench = Bench(harness)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers())
        seen: list[object] = []

        def run(_: Any) -> None:
            with Consumer.progress(4) as progress:
                seen.append(handle.progress)
                progress.update(3)
            seen.append(handle.progress)

        bench.consume(run)

        assert seen == [(0, 4), (3, 4)]


def _refuses_to_submit(bench: Bench) -> bool:
    if bench.harness.capabilities.job_identity:
        return False
    with pytest.raises(UnsupportedByBackendError):
        bench.orchestrator.submit(bench.schema, Numbers())
    return True


BROKEN = {
    "no JSON": "\x00\x01 not json",
    "no object": "[1, 2, 3]",
    "no payload": '{"a": 1}',
    "refused by the schema": '{"payload": {"a": "seven"}}',
    "nothing": "",
}


class Rule16InvalidMessages:
    """A message that is no job is a dead letter with the reason; it stops nobody."""

    @pytest.mark.parametrize("kind", BROKEN)
    def test_it_is_a_dead_letter_and_the_next_job_runs(self, harness: Harness, kind: str) -> None:
        bench = Bench(harness, retry=RetryPolicy(max_attempts=5, backoff=0.0))
        broken = Entry(new_job_id(), BROKEN[kind])
        bench.client.store.publish(bench.queue, [broken])
        (good,) = bench.publish()
        ran: list[str] = []

        bench.consume(lambda job: ran.append(job["id"]))

        assert ran == [good]
        assert bench.counts() == Counts(dead=1)
        (dead,) = bench.orchestrator.dead_letters(bench.queue)
        assert (dead.job_id, dead.reason, dead.body) == (broken.id, "invalid", broken.body)
        assert dead.message

    def test_taking_one_message_passes_over_it(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.client.store.publish(bench.queue, [Entry(new_job_id(), "no JSON")])
        (good,) = bench.publish()

        found = bench.orchestrator.receive_message(bench.queue, block=True, timeout=5)

        assert found is not None
        assert found["id"] == good
        assert bench.counts() == Counts(dead=1)
        assert bench.orchestrator.receive_message(bench.queue) is None


class Rule20Consuming:
    """`num_messages` counts handled deliveries in all, failures included."""

    def test_the_number_is_over_all_queues_and_counts_failures(self, harness: Harness) -> None:
        first, second = Bench(harness), Bench(harness)
        first.publish(3)
        second.publish(3)
        seen: list[str] = []

        def run(job: Any) -> None:
            seen.append(job["queue"])
            failing(job)

        consumer = first.consumer(run)
        handled = consumer.consume(num_messages=4, queues=[first.queue, second.queue], prefetch=1)

        assert handled == 4
        assert seen == [first.queue, second.queue] * 2
        assert first.counts() == second.counts() == Counts(ready=1, dead=2)

    def test_consuming_until_empty_leaves_delayed_jobs(self, harness: Harness) -> None:
        first, second = Bench(harness), Bench(harness)
        first.publish(3)
        second.publish(2)
        second.publish(1, delay=harness.span(100))

        handled = first.consumer(lambda _: None).consume_until_empty([first.queue, second.queue])

        assert handled == 5
        assert second.counts() == Counts(delayed=1)

    def test_many_lanes_handle_exactly_as_many(self, harness: Harness) -> None:
        bench = Bench(harness)
        bench.publish(40)
        seen: list[str] = []

        handled = bench.consumer(lambda job: seen.append(job["id"])).consume(
            num_messages=25, concurrency=4
        )

        assert handled == len(set(seen)) == 25
        assert bench.counts() == Counts(ready=15)


class Rule21CancelWhileRunning:
    """The handler sees it, and the job ends cancelled whatever it returns."""

    def test_a_handler_is_told_and_its_result_does_not_count(self, harness: Harness) -> None:
        bench = Bench(harness)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers())
        told: list[bool] = []

        def run(_: Any) -> dict[str, int]:
            assert handle.cancel() is True
            eventually(Consumer.cancelled)
            told.append(Consumer.cancelled())
            return {"a": 1}

        bench.consume(run)

        assert told == [True]
        with pytest.raises(JobCancelledError):
            handle.result(timeout=1)
        assert str(handle.status.value) == "cancelled"
        assert bench.counts() == Counts()
        assert handle.cancel() is False

    def test_a_handler_that_raises_after_it_was_cancelled_is_not_retried(
        self, harness: Harness
    ) -> None:
        bench = Bench(harness, retry=RetryPolicy(max_attempts=5, backoff=0.0))
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers())

        def run(job: Any) -> None:
            handle.cancel()
            failing(job)

        assert bench.consume(run) == 1
        with pytest.raises(JobCancelledError):
            handle.result(timeout=1)
        assert bench.counts() == Counts()

    def test_an_async_handler_is_cancelled_at_its_next_await(self, harness: Harness) -> None:
        bench = Bench(harness)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers())
        ended: list[str] = []

        async def run(_: Any) -> None:
            handle.cancel()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        bench.consumer(run, AsyncRunner).consume(num_messages=1)

        assert ended == ["cancelled"]
        with pytest.raises(JobCancelledError):
            handle.result(timeout=1)
        assert bench.counts() == Counts()

    def test_a_waiting_job_never_runs(self, harness: Harness) -> None:
        bench = Bench(harness)
        if _refuses_to_submit(bench):
            return
        handle = bench.orchestrator.submit(bench.schema, Numbers())

        assert handle.cancel() is True

        assert bench.consume(failing) == 0
        with pytest.raises(JobCancelledError):
            handle.result(timeout=0)


class Rule22Threads:
    """Clients are thread-safe."""

    def test_many_threads_publish_and_administer_through_one_client(self, harness: Harness) -> None:
        bench = Bench(harness)
        found: list[str] = []

        def publish(_: int) -> None:
            for _ in range(20):
                found.extend(bench.publish(2))
                bench.counts()

        threads = [Background(partial(publish, each)) for each in range(4)]
        for each in threads:
            each.result(within=60)

        assert len(set(found)) == 160
        ran: list[str] = []
        bench.consumer(lambda job: ran.append(job["id"])).consume(num_messages=160, concurrency=4)
        assert sorted(ran) == sorted(found)
        assert bench.counts() == Counts()
