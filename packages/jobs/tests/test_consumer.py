"""What runs jobs: classes and functions, numbers and queues, threads, retries by level."""

from __future__ import annotations

import functools
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import (
    AsyncRunner,
    Pair,
    Runner,
    Sum,
    add,
    consumer_of,
    drain,
    fail,
    nothing,
    run_python,
    sums,
)

from mindtrace.jobs import (
    Consumer,
    FunctionConsumer,
    Job,
    JobSchema,
    LocalClient,
    Orchestrator,
    QueueNotFoundError,
    Reject,
    Retry,
    RetryPolicy,
    handler,
)
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background, seconds_of

if TYPE_CHECKING:
    from mindtrace.core import ManualClock


def job(**facts: Any) -> Job:
    chosen: dict[str, Any] = {"name": "any", "payload": {}, **facts}
    return Job(**chosen)


def filled(orchestrator: Orchestrator, count: int, queue: str = "tasks") -> list[str]:
    """Declare a queue and publish so many jobs."""
    orchestrator.declare_queue(queue)
    return orchestrator.publish_many(queue, [job() for _ in range(count)])


async def nothing_async(_: Any) -> None:
    """Handle a job by doing nothing."""


KINDS: list[Any] = [
    pytest.param(lambda: Runner(nothing), {}, id="one"),
    pytest.param(lambda: Runner(nothing), {"prefetch": 7}, id="batches"),
    pytest.param(lambda: Runner(nothing), {"concurrency": 4}, id="threads"),
    pytest.param(lambda: Runner(nothing), {"concurrency": 3, "prefetch": 5}, id="thread batches"),
    pytest.param(lambda: AsyncRunner(nothing_async), {}, id="async"),
    pytest.param(lambda: AsyncRunner(nothing_async), {"concurrency": 8}, id="async many"),
]


class TestNumberOfMessages:
    @pytest.mark.parametrize(("kind", "how"), KINDS)
    @pytest.mark.parametrize("number", [1, 5, 23])
    def test_exactly_so_many_are_handled(
        self, orchestrator: Orchestrator, kind: Any, how: dict[str, Any], number: int
    ) -> None:
        filled(orchestrator, 30)
        consumer = kind()
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        handled = consumer.consume(number, **how)

        assert handled == number
        assert orchestrator.count_queue_messages("tasks") == 30 - number
        assert orchestrator.queue_stats("tasks").leased == 0

    @pytest.mark.parametrize(("kind", "how"), KINDS)
    def test_failures_count(
        self, orchestrator: Orchestrator, kind: Any, how: dict[str, Any]
    ) -> None:
        filled(orchestrator, 10)
        consumer: Any = kind()
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        async def fail_async(each: Any) -> None:
            fail(each)

        consumer.handle = fail if type(consumer) is Runner else fail_async
        handled = consumer.consume(6, **how)

        assert handled == 6
        assert len(orchestrator.dead_letters("tasks")) == 6
        assert orchestrator.count_queue_messages("tasks") == 4

    @pytest.mark.parametrize(("kind", "how"), KINDS)
    def test_without_blocking_fewer_are_fine(
        self, orchestrator: Orchestrator, kind: Any, how: dict[str, Any]
    ) -> None:
        filled(orchestrator, 3)
        consumer = kind()
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        handled = consumer.consume(10, block=False, **how)

        assert handled == 3

    @pytest.mark.parametrize(("kind", "how"), KINDS)
    def test_until_empty_handles_all(
        self, orchestrator: Orchestrator, kind: Any, how: dict[str, Any]
    ) -> None:
        filled(orchestrator, 40)
        consumer = kind()
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        handled = consumer.consume_until_empty(**how)

        assert handled == 40
        assert orchestrator.queue_stats("tasks").leased == 0

    @pytest.mark.parametrize(("kind", "how"), KINDS)
    def test_it_waits_for_the_number_to_be_full(
        self, orchestrator: Orchestrator, kind: Any, how: dict[str, Any]
    ) -> None:
        filled(orchestrator, 2)
        consumer = kind()
        consumer.connect_to_orchestrator(orchestrator, "tasks")
        consuming = Background(lambda: consumer.consume(5, **how))
        eventually(lambda: orchestrator.count_queue_messages("tasks") == 0)

        filled(orchestrator, 3)

        assert consuming.result() == 5

    def test_a_failure_that_is_retried_counts_each_time(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks", retry=RetryPolicy(3, backoff=0, jitter=0))
        orchestrator.publish("tasks", job())

        handled = consumer_of(orchestrator, "tasks", fail).consume(3)

        assert handled == 3
        assert orchestrator.dead_letters("tasks")[0].attempts == 3

    def test_an_invalid_message_counts(self, orchestrator: Orchestrator) -> None:
        orchestrator.register(sums())
        orchestrator.backend.publish("sums", job(payload="bad"))

        assert consumer_of(orchestrator, "sums", add).consume(1) == 1


class TestTimeout:
    @pytest.mark.parametrize(("kind", "how"), KINDS)
    def test_an_idle_consumer_returns_in_time(
        self, orchestrator: Orchestrator, kind: Any, how: dict[str, Any]
    ) -> None:
        orchestrator.declare_queue("tasks")
        consumer = kind()
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        seconds = seconds_of(lambda: consumer.consume(timeout=0.2, **how))

        assert 0.15 < seconds < 10

    @pytest.mark.parametrize("how", [{"prefetch": 50}, {}, {"concurrency": 2, "prefetch": 50}])
    def test_a_busy_one_returns_once_the_job_in_hand_is_done(
        self, orchestrator: Orchestrator, how: dict[str, Any]
    ) -> None:
        filled(orchestrator, 100)
        consumer = consumer_of(orchestrator, "tasks", lambda _: threading.Event().wait(0.03))

        handled: list[int] = []
        seconds = seconds_of(lambda: handled.append(consumer.consume(timeout=0.2, **how)))

        assert 0.15 < seconds < 2.5
        assert orchestrator.count_queue_messages("tasks") == 100 - handled[0]

    def test_no_time_at_all_handles_nothing(self, orchestrator: Orchestrator) -> None:
        filled(orchestrator, 1)

        assert consumer_of(orchestrator, "tasks", nothing).consume(timeout=0) == 0

    def test_until_empty_has_a_timeout_too(self, orchestrator: Orchestrator) -> None:
        filled(orchestrator, 100)
        consumer = consumer_of(orchestrator, "tasks", lambda _: threading.Event().wait(0.03))

        handled = consumer.consume_until_empty(timeout=0.5, prefetch=1)

        assert 0 < handled < 50


class TestSeveralQueues:
    def test_they_take_turns(self, orchestrator: Orchestrator) -> None:
        for queue in ("first", "second"):
            filled(orchestrator, 3, queue)
        seen: list[str] = []
        consumer = consumer_of(orchestrator, "first", lambda each: seen.append(each.queue))

        consumer.consume(queues=["first", "second"], block=False, prefetch=1)

        assert seen == ["first", "second"] * 3

    def test_the_number_is_over_all_of_them(self, orchestrator: Orchestrator) -> None:
        for queue in ("first", "second"):
            filled(orchestrator, 3, queue)
        consumer = consumer_of(orchestrator, "first", nothing)

        handled = consumer.consume(4, queues=["first", "second"])

        assert handled == 4

    def test_one_name_is_one_queue(self, orchestrator: Orchestrator) -> None:
        filled(orchestrator, 1, "first")
        filled(orchestrator, 2, "second")
        consumer = consumer_of(orchestrator, "first", nothing)

        assert consumer.consume_until_empty("second") == 2

    def test_each_queue_has_its_own_schema_and_policy(self, orchestrator: Orchestrator) -> None:
        orchestrator.register(sums("patient", retry=RetryPolicy(2, backoff=0, jitter=0)))
        orchestrator.register(sums("strict"))
        for queue in ("patient", "strict"):
            orchestrator.publish(queue, Pair())
        consumer = consumer_of(orchestrator, "patient", fail)

        consumer.consume(queues=["patient", "strict"], block=False)

        attempts = {
            queue: orchestrator.dead_letters(queue)[0].attempts for queue in ("patient", "strict")
        }
        assert attempts == {"patient": 2, "strict": 1}

    @pytest.mark.parametrize("how", [{}, {"concurrency": 2}])
    def test_a_queue_deleted_meanwhile_is_an_error(
        self, orchestrator: Orchestrator, how: dict[str, Any]
    ) -> None:
        filled(orchestrator, 1)
        consumer = consumer_of(orchestrator, "tasks", lambda _: orchestrator.delete_queue("tasks"))

        with pytest.raises(QueueNotFoundError, match="'tasks'"):
            consumer.consume(**how)

    def test_a_queue_deleted_under_an_async_consumer_is_an_error(
        self, orchestrator: Orchestrator
    ) -> None:
        filled(orchestrator, 1)

        async def delete(_: Any) -> None:
            orchestrator.delete_queue("tasks")

        consumer = AsyncRunner(delete)
        consumer.connect_to_orchestrator(orchestrator, "tasks")

        with pytest.raises(QueueNotFoundError, match="'tasks'"):
            consumer.consume()


class TestConcurrency:
    def test_threads_run_jobs_at_the_same_time(self, orchestrator: Orchestrator) -> None:
        filled(orchestrator, 4)
        together = threading.Barrier(4)

        handled = consumer_of(orchestrator, "tasks", lambda _: together.wait(10)).consume(
            4, concurrency=4
        )

        assert handled == 4
        assert orchestrator.dead_letters("tasks") == []

    def test_the_context_of_a_job_is_its_own(self, orchestrator: Orchestrator) -> None:
        handles = [orchestrator.submit(JobSchema(name="tasks"), {"n": n}) for n in range(4)]
        together = threading.Barrier(4)

        def run(each: Any) -> dict[str, Any]:
            with Consumer.progress(10) as progress:
                together.wait(10)
                progress.update(each.payload["n"])
            return {"n": each.payload["n"]}

        consumer_of(orchestrator, "tasks", run).consume(4, concurrency=4)

        assert [each.result(0)["n"] for each in handles] == [0, 1, 2, 3]
        assert [each.progress and each.progress.done for each in handles] == [0, 1, 2, 3]

    def test_a_second_consume_of_one_object_is_refused(self, orchestrator: Orchestrator) -> None:
        filled(orchestrator, 1)
        began = threading.Event()
        consumer = consumer_of(orchestrator, "tasks", lambda _: began.set())
        consuming = Background(consumer.consume)
        began.wait(10)

        with pytest.raises(RuntimeError, match="consuming already"):
            consumer.consume()

        consumer.stop()
        assert consuming.result() == 1

    def test_a_keyboard_interrupt_in_a_thread_ends_all_quietly(
        self, orchestrator: Orchestrator
    ) -> None:
        filled(orchestrator, 1)

        def interrupt(_: Any) -> None:
            raise KeyboardInterrupt

        handled = consumer_of(orchestrator, "tasks", interrupt).consume(concurrency=3)

        assert handled == 0
        assert orchestrator.count_queue_messages("tasks") == 1


class Listener(logging.Handler):
    """Notes of each line whether it can be written."""

    def __init__(self, writable: list[bool]) -> None:
        super().__init__()
        self._writable = writable

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._writable.append(text.encode("utf-8", "replace").decode() == text)


class TestRetries:
    """The publish wins over the handler, that over the schema, that over the queue."""

    @pytest.mark.parametrize(
        ("levels", "attempts"),
        [
            ({}, 1),
            ({"queue": 2}, 2),
            ({"queue": 2, "schema": 3}, 3),
            ({"queue": 2, "schema": 3, "handler": 4}, 4),
            ({"queue": 2, "schema": 3, "handler": 4, "publish": 5}, 5),
            ({"handler": 4, "publish": 1}, 1),
            ({"queue": 5, "handler": 1}, 1),
        ],
    )
    def test_precedence(
        self, orchestrator: Orchestrator, levels: dict[str, int], attempts: int
    ) -> None:
        policy = {
            level: RetryPolicy(number, backoff=0, jitter=0) for level, number in levels.items()
        }
        schema = sums(retry=policy.get("schema"))
        orchestrator.register(schema, retry=policy.get("queue"))
        runs: list[Pair] = []

        @schema.handler(retry=policy.get("handler"))
        def failing(pair: Pair) -> Sum:
            runs.append(pair)
            raise LookupError

        failing.connect(orchestrator)
        orchestrator.publish("sums", Pair(), retry=policy.get("publish"))
        failing.consume(block=False)

        assert len(runs) == attempts
        assert orchestrator.dead_letters("sums")[0].attempts == attempts

    @pytest.mark.parametrize(
        ("levels", "bound"),
        [
            ({"queue": 0.05}, 0.05),
            ({"queue": 9, "schema": 0.06}, 0.06),
            ({"queue": 9, "schema": 9, "handler": 0.07}, 0.07),
            ({"queue": 9, "schema": 9, "handler": 9, "publish": 0.08}, 0.08),
        ],
    )
    def test_timeouts_follow_the_same_order(
        self, orchestrator: Orchestrator, levels: dict[str, float], bound: float
    ) -> None:
        schema = sums(timeout=levels.get("schema"))
        orchestrator.register(schema, timeout=levels.get("queue"))

        @schema.handler(timeout=levels.get("handler"))
        def slow(_: Pair) -> None:
            threading.Event().wait(5)

        slow.connect(orchestrator)
        orchestrator.publish("sums", Pair(), timeout=levels.get("publish"))
        slow.consume(1)

        (letter,) = orchestrator.dead_letters("sums")
        assert letter.error_type == "JobTimeoutError"
        assert f"within {bound:g} s" in letter.message

    def test_a_pause_lies_between_two_attempts(
        self, timed: Orchestrator, clock: ManualClock
    ) -> None:
        timed.declare_queue("tasks", retry=RetryPolicy(3, backoff=(10, 20), jitter=0))
        timed.publish("tasks", job())

        seen: list[tuple[float, int]] = []
        for seconds in (0, 9, 1, 19, 1):
            clock.advance(seconds)
            seen.append((clock.monotonic(), drain(timed, "tasks", fail)))

        assert seen == [(0, 1), (9, 0), (10, 1), (29, 0), (30, 1)]
        assert timed.dead_letters("tasks")[0].attempts == 3

    def test_a_handler_asks_for_another_time(self, timed: Orchestrator, clock: ManualClock) -> None:
        timed.declare_queue("tasks")
        timed.publish("tasks", job())
        runs: list[int] = []

        def later(each: Any) -> None:
            runs.append(each.attempts)
            if len(runs) < 3:
                raise Retry(after=60)

        for _ in range(3):
            drain(timed, "tasks", later)
            clock.advance(60)

        assert runs == [0, 1, 2]
        assert timed.dead_letters("tasks") == []

    def test_a_handler_rejects_whatever_the_policy(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks", retry=RetryPolicy(9, backoff=0))
        orchestrator.publish("tasks", job())

        def reject(_: Any) -> None:
            message = "never"
            raise Reject(message)

        handled = drain(orchestrator, "tasks", reject)

        (letter,) = orchestrator.dead_letters("tasks")
        assert handled == 1
        assert (letter.reason, letter.message) == ("rejected", "never")

    def test_only_the_errors_named_are_tried_again(self, orchestrator: Orchestrator) -> None:
        policy = RetryPolicy(3, backoff=0, jitter=0, on=(ConnectionError,))
        orchestrator.declare_queue("tasks", retry=policy)
        errors: list[Exception] = [ConnectionResetError(), LookupError()]
        orchestrator.publish("tasks", job())

        def run(_: Any) -> None:
            raise errors.pop(0)

        handled = drain(orchestrator, "tasks", run)

        assert handled == 2
        assert orchestrator.dead_letters("tasks")[0].error_type == "LookupError"

    def test_a_job_that_takes_too_long_can_be_tried_again(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks", retry=RetryPolicy(2, backoff=0, jitter=0), timeout=0.05)
        orchestrator.publish("tasks", job())

        handled = drain(orchestrator, "tasks", lambda _: threading.Event().wait(5))

        assert handled == 2
        assert orchestrator.dead_letters("tasks")[0].attempts == 2

    def test_a_very_long_traceback_keeps_its_end(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish("tasks", job())

        def run(_: Any) -> None:
            message = "ü" * 100_000 + " the end"
            raise LookupError(message)

        drain(orchestrator, "tasks", run)

        (letter,) = orchestrator.dead_letters("tasks")
        assert letter.message.endswith(" the end")
        assert letter.traceback.rstrip().endswith(" the end")
        assert len(letter.message.encode()) <= 64 * 1024
        assert len(letter.traceback.encode()) <= 64 * 1024

    def test_an_error_with_text_that_cannot_be_written_is_told_as_far_as_possible(
        self, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # the line stays here: pytest's own handlers cannot write it either
        writable: list[bool] = []
        logger = logging.getLogger("mindtrace")
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "handlers", [Listener(writable)])
        orchestrator.declare_queue("tasks")
        orchestrator.publish("tasks", job())

        def run(_: Any) -> None:
            message = "odd \ud800 text"
            raise LookupError(message)

        drain(orchestrator, "tasks", run)

        assert orchestrator.dead_letters("tasks")[0].message == "odd ? text"
        assert writable == [True]


class TestTypedFunctions:
    def test_a_function_is_a_consumer_and_still_a_function(
        self, orchestrator: Orchestrator
    ) -> None:
        schema = sums()

        @schema.handler
        def total(pair: Pair) -> Sum:
            """Add two numbers."""
            return Sum(total=pair.a + pair.b)

        total.connect(orchestrator)
        handle = orchestrator.submit(schema, Pair(a=1, b=2))
        total.consume(1)

        assert isinstance(total, FunctionConsumer)
        assert handle.result(0) == Sum(total=3)
        assert total(Pair(a=5)) == Sum(total=5)
        assert (total.__name__, total.__doc__) == ("total", "Add two numbers.")
        assert total.__wrapped__ is total.function

    def test_the_decorator_can_be_a_function_of_its_own(self, orchestrator: Orchestrator) -> None:
        @handler(sums(), timeout=5)
        def total(pair: Pair) -> Sum:
            return Sum(total=pair.a)

        total.connect_to_orchestrator(orchestrator)
        orchestrator.publish("sums", Pair(a=1))

        assert total.consume(1) == 1
        assert orchestrator.dead_letters("sums") == []

    def test_connecting_registers_its_schema_unless_one_is_there(
        self, orchestrator: Orchestrator
    ) -> None:
        there = sums()
        orchestrator.register(there)
        FunctionConsumer(sums(), nothing).connect(orchestrator)
        FunctionConsumer(sums("others"), nothing).connect(orchestrator)

        assert orchestrator.schema_of("sums") is there
        assert orchestrator.schema_of("others") is not None

    def test_it_may_consume_another_queue(self, orchestrator: Orchestrator) -> None:
        schema = sums()
        seen: list[Pair] = []
        consumer = FunctionConsumer(schema, seen.append)
        consumer.connect(orchestrator, "other")
        orchestrator.publish("other", job(payload={"a": 2}))

        consumer.consume(1)

        assert seen == [Pair(a=2)]

    def test_a_schema_without_a_model_gives_plain_values(self, orchestrator: Orchestrator) -> None:
        schema = JobSchema(name="plain")
        seen: list[Any] = []
        consumer = FunctionConsumer(schema, seen.append)
        consumer.connect(orchestrator)
        orchestrator.submit(schema, {"x": [1]})

        consumer.consume(1)

        assert seen == [{"x": [1]}]

    def test_a_callable_without_a_name_works_too(self, orchestrator: Orchestrator) -> None:
        seen: list[Any] = []
        consumer = FunctionConsumer(sums(), functools.partial(seen.append))
        consumer.connect(orchestrator)
        orchestrator.publish("sums", Pair(a=2))

        consumer.consume(1)

        assert consumer.__name__ == "partial"
        assert seen == [Pair(a=2)]


class TestConnecting:
    def test_a_closed_consumer_can_be_connected_again(self, orchestrator: Orchestrator) -> None:
        consumer = consumer_of(orchestrator, "first", nothing)

        consumer.close()
        consumer.connect_to_orchestrator(orchestrator, "second")

        assert consumer.queue_name == "second"
        assert consumer.consume(block=False) == 0

    def test_closing_and_stopping_without_a_connection_do_nothing(self) -> None:
        consumer = Runner(nothing)

        consumer.stop()
        consumer.close()

        assert consumer.consumer_backend is None

    def test_a_consumer_logs_under_its_own_name(self) -> None:
        assert Runner(nothing).logger.name.endswith("jobs_support.Runner")

    @pytest.mark.process
    @pytest.mark.parametrize(
        "method",
        ["connect_to_orchestrator_via_backend_args", "connect_to_orchestator_via_backend_args"],
    )
    def test_backend_arguments_connect_another_process(
        self, durable: Orchestrator, method: str
    ) -> None:
        ids = filled(durable, 2)
        arguments = json.dumps(durable.backend.consumer_backend_args)
        code = (
            "import json, sys\n"
            "from mindtrace.jobs import Consumer\n"
            "class Printing(Consumer):\n"
            "    def run(self, job): print(job.id)\n"
            "consumer = Printing()\n"
            "getattr(consumer, sys.argv[1])(json.loads(sys.argv[2]), 'tasks')\n"
            "consumer.consume(num_messages=2)\n"
        )

        printed = run_python(code, method, arguments)

        assert printed.splitlines() == ids
        assert durable.count_queue_messages("tasks") == 0

    def test_a_client_in_memory_has_no_backend_arguments(self, client: LocalClient) -> None:
        with pytest.raises(NotImplementedError, match="in memory"):
            _ = client.consumer_backend_args


class TestInsideOfRun:
    def test_a_job_reads_as_a_dict_and_by_attributes(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish("tasks", job(id="one", payload={"x": 1}), priority=4)
        seen: list[Any] = []

        drain(orchestrator, "tasks", seen.append)

        (each,) = seen
        assert issubclass(type(each), dict)
        assert each.payload is each["input_data"]
        assert (each.id, each["job_id"], each.queue, each.priority) == ("one", "one", "tasks", 4)
        assert (each.status, each.attempts, each.lost, each.delivery) == ("running", 0, 0, 1)
        assert "options" not in each

    def test_the_delivery_number_rises_with_each_delivery(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks", retry=RetryPolicy(3, backoff=0, jitter=0))
        orchestrator.publish("tasks", job())
        numbers: list[int] = []

        def run(each: Any) -> None:
            numbers.append(each.delivery)
            raise LookupError

        drain(orchestrator, "tasks", run)

        assert numbers == [1, 2, 3]

    def test_outside_of_a_job_nothing_is_cancelled_and_progress_goes_nowhere(self) -> None:
        with Consumer.progress(3) as progress:
            progress.advance()

        assert progress.done == 1
        assert Consumer.cancelled() is False
