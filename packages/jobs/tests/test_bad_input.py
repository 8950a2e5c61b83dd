"""What is wrong is refused with the error that says so, before anything is sent."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from jobs_support import Pair, Runner, Sum, add, consumer_of, drain, sums
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
)
from pydantic_core import PydanticCustomError

from mindtrace.jobs import (
    DuplicateJobError,
    Job,
    JobFailedError,
    JobSchema,
    JobsError,
    JobValidationError,
    LocalClient,
    Orchestrator,
    PayloadTooLargeError,
    QueueNotFoundError,
    Reject,
    RetryPolicy,
    backend_from_url,
    job_from_schema,
)
from mindtrace.jobs.backend import Entry
from mindtrace.jobs.ids import new_job_id

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2-must-not-be-told"


def dead(orchestrator: Orchestrator, queue: str) -> list[tuple[str, str, str]]:
    return [
        (each.reason, each.error_type, each.message) for each in orchestrator.dead_letters(queue)
    ]


class TestPayloads:
    """A payload that the schema refuses is a `JobValidationError`, and nothing is published."""

    def test_the_error_names_the_field_and_the_type_that_was_found(
        self, orchestrator: Orchestrator
    ) -> None:
        queue = orchestrator.register(sums())

        with pytest.raises(JobValidationError) as caught:
            orchestrator.publish(queue, Job(name="sum", payload={"a": SECRET, "b": [1]}))

        message = str(caught.value)
        assert "'sums'" in message
        assert "a: " in message
        assert "found str" in message
        assert "b: " in message
        assert "found list" in message
        assert len(caught.value.problems) == 2

    def test_nothing_is_published(self, orchestrator: Orchestrator) -> None:
        queue = orchestrator.register(sums())

        with pytest.raises(JobValidationError):
            orchestrator.publish(queue, Job(name="sum", payload={"a": "x"}))

        assert orchestrator.count_queue_messages(queue) == 0

    def test_of_a_batch_with_one_bad_payload_nothing_is_published(
        self, orchestrator: Orchestrator
    ) -> None:
        queue = orchestrator.register(sums())

        with pytest.raises(JobValidationError):
            orchestrator.publish_many(queue, [Pair(), Job(name="sum", payload={"a": "x"}), Pair()])

        assert orchestrator.count_queue_messages(queue) == 0

    def test_a_missing_field_is_named(self, orchestrator: Orchestrator) -> None:
        queue = orchestrator.register(JobSchema(name="totals", input_schema=Sum))

        with pytest.raises(JobValidationError, match="total: field required"):
            orchestrator.publish(queue, Job(name="total", payload={}))

    @pytest.mark.parametrize("payload", [None, 5, "text", [1, 2]])
    def test_a_payload_that_is_no_object_is_refused(
        self, orchestrator: Orchestrator, payload: Any
    ) -> None:
        queue = orchestrator.register(sums())

        with pytest.raises(JobValidationError, match=f"found {type(payload).__name__}"):
            orchestrator.publish(queue, Job(name="sum", payload=payload))

    def test_a_model_of_another_class_is_refused(self, orchestrator: Orchestrator) -> None:
        queue = orchestrator.register(sums())

        class Report(BaseModel):
            pages: int

        with pytest.raises(JobValidationError):
            orchestrator.publish(queue, Report(pages=3))
        with pytest.raises(JobValidationError):
            orchestrator.publish(queue, Job(name="sum", payload=Report(pages=3)))

        assert orchestrator.count_queue_messages(queue) == 0

    def test_submitting_a_bad_dict_is_the_same_error(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(JobValidationError, match=r"a: .*found str"):
            orchestrator.submit(sums(), {"a": "x"})

        assert orchestrator.count_queue_messages("sums") == 0

    def test_a_value_without_a_json_form_is_refused(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("anything")

        with pytest.raises(JobValidationError, match="cannot be written as JSON"):
            orchestrator.publish("anything", Job(name="any", payload={"a": object()}))
        with pytest.raises(JobValidationError, match="cannot be written as JSON"):
            orchestrator.publish("anything", Job(name="any", payload="\ud800"))

        assert orchestrator.count_queue_messages("anything") == 0

    def test_a_value_that_contains_itself_is_refused(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("anything")
        endless: list[Any] = []
        endless.append(endless)

        with pytest.raises(JobValidationError):
            orchestrator.publish("anything", Job(name="any", payload=endless))

    def test_it_is_also_caught_as_a_value_error(self, orchestrator: Orchestrator) -> None:
        queue = orchestrator.register(sums())

        with pytest.raises(ValueError):
            orchestrator.publish(queue, Job(name="sum", payload={"a": "x"}))


class _Cat(BaseModel):
    kind: Literal["cat"]


class _Dog(BaseModel):
    kind: Literal["dog"]


class _Pet(BaseModel):
    pet: Annotated[_Cat | _Dog, Field(discriminator="kind")]


class _OwnValidator(BaseModel):
    a: str

    @field_validator("a")
    @classmethod
    def _check(cls, value: str) -> str:
        message = f"{value} is not allowed"
        raise ValueError(message)


class _CustomError(BaseModel):
    a: str

    @field_validator("a")
    @classmethod
    def _check(cls, value: str) -> str:
        raise PydanticCustomError("not_allowed", "{value} is not allowed", {"value": value})


class _OwnSerializer(BaseModel):
    a: str

    @field_serializer("a")
    def _write(self, value: str) -> str:
        message = f"{value} cannot be written"
        raise ValueError(message)


class _Number(BaseModel):
    a: int


class _Keyed(BaseModel):
    name: str
    key: SecretStr | None = None


class TestSecrets:
    """A job would carry a secret in clear text, or lose it: a schema with one is refused."""

    @pytest.mark.parametrize(
        "kind",
        [SecretStr, SecretBytes, SecretStr | None, list[SecretStr], dict[str, _Keyed], _Keyed],
    )
    def test_a_model_with_a_secret_is_refused_with_its_place(
        self, orchestrator: Orchestrator, kind: Any
    ) -> None:
        model = create_model("Account", number=(int, 0), owner=(kind, ...))

        with pytest.raises(ValueError, match=r"Account\.owner"):
            orchestrator.register(JobSchema(name="accounts", input_schema=model))

        assert orchestrator.backend.store.queues() == {}

    def test_a_model_that_contains_itself_is_fine(self, orchestrator: Orchestrator) -> None:
        class Tree(BaseModel):
            children: list[Tree] = []

        Tree.model_rebuild(_types_namespace={"Tree": Tree})

        assert orchestrator.register(JobSchema(name="trees", input_schema=Tree)) == "trees"


class TestMessagesHoldNoValues:
    @pytest.mark.parametrize(
        ("model", "payload"),
        [
            (_Number, {"a": SECRET}),
            (_Pet, {"pet": {"kind": SECRET}}),
            (_OwnValidator, {"a": SECRET}),
            (_CustomError, {"a": SECRET}),
            (_OwnSerializer, {"a": SECRET}),
        ],
        ids=lambda each: getattr(each, "__name__", ""),
    )
    def test_a_refused_payload_is_not_quoted(
        self, orchestrator: Orchestrator, model: type[BaseModel], payload: Any
    ) -> None:
        queue = orchestrator.register(JobSchema(name="guarded", input_schema=model))

        with pytest.raises(JobValidationError) as caught:
            orchestrator.publish(queue, Job(name="any", payload=payload))

        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value)
        assert all(SECRET not in each for each in caught.value.problems)

    def test_a_result_that_does_not_fit_is_not_quoted(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair())

        drain(orchestrator, "sums", lambda _: {"total": SECRET})

        with pytest.raises(JobFailedError, match=r"total: .*found str") as caught:
            handle.result(timeout=0)
        assert SECRET not in str(caught.value)

    def test_a_message_that_is_no_job_is_not_quoted(self, client: LocalClient) -> None:
        orchestrator = Orchestrator(client)
        orchestrator.declare_queue("raw")
        client.store.publish("raw", [Entry(new_job_id(), SECRET)])

        drain(orchestrator, "raw")

        (letter,) = orchestrator.dead_letters("raw")
        assert letter.reason == "invalid"
        assert SECRET not in letter.message
        assert letter.body == SECRET
        assert SECRET not in repr(letter)

    @pytest.mark.parametrize(
        "url",
        [
            f"postgres://user:{SECRET}@host/db",
            f"{SECRET}",
            f"sqlite://user:{SECRET}@host/folder",
        ],
    )
    def test_a_refused_url_is_not_quoted(self, url: str) -> None:
        with pytest.raises(ValueError) as caught:
            backend_from_url(url)

        assert SECRET not in str(caught.value)

    def test_a_missing_backend_does_not_quote_its_url(self) -> None:
        try:
            backend_from_url(f"redis://user:{SECRET}@host")
        except ImportError as error:
            assert SECRET not in str(error)  # noqa: PT017 - installed, nothing is raised

    def test_a_duplicate_is_not_quoted(self, orchestrator: Orchestrator) -> None:
        for queue in ("one", "two"):
            orchestrator.declare_queue(queue)
        orchestrator.publish("one", Job(id="same", name="any", payload=SECRET))

        with pytest.raises(DuplicateJobError, match=r"'same'.*'one'") as caught:
            orchestrator.publish("two", Job(id="same", name="any", payload=SECRET))

        assert SECRET not in str(caught.value)


CALLS: list[Callable[[Orchestrator], object]] = [
    lambda o: o.publish("missing", Job(name="any", payload={})),
    lambda o: o.publish_many("missing", [Job(name="any", payload={})]),
    lambda o: o.publish_many("missing", []),
    lambda o: o.receive_message("missing"),
    lambda o: o.count_queue_messages("missing"),
    lambda o: o.queue_stats("missing"),
    lambda o: o.clean_queue("missing"),
    lambda o: o.delete_queue("missing"),
    lambda o: o.dead_letters("missing"),
    lambda o: o.requeue_dead_letters("missing"),
    lambda o: o.discard_dead_letters("missing"),
    lambda o: o.backend.publish("missing", Job(name="any", payload={})),
]


class TestQueues:
    @pytest.mark.parametrize("call", CALLS)
    def test_an_unknown_queue_is_an_error_that_names_the_known_ones(
        self, orchestrator: Orchestrator, call: Callable[[Orchestrator], object]
    ) -> None:
        orchestrator.declare_queue("there")

        with pytest.raises(QueueNotFoundError, match="'missing'; known queues: 'there'") as caught:
            call(orchestrator)

        assert caught.value.name == "missing"
        assert caught.value.known == ["there"]
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, ValueError)

    def test_without_any_queue_it_says_so(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(QueueNotFoundError, match="known queues: none"):
            orchestrator.count_queue_messages("missing")

    def test_a_queue_that_was_deleted_takes_nothing(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("gone")
        orchestrator.publish("gone", Job(name="any", payload={}))
        orchestrator.delete_queue("gone")

        with pytest.raises(QueueNotFoundError, match="'gone'"):
            orchestrator.publish("gone", Job(name="any", payload={}))

    def test_a_queue_deleted_by_somebody_else_takes_nothing(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("gone")
        orchestrator.publish("gone", Job(name="any", payload={}))
        orchestrator.backend.store.delete_queue("gone")

        with pytest.raises(QueueNotFoundError, match="'gone'"):
            orchestrator.publish("gone", Job(name="any", payload={}))

    @pytest.mark.parametrize("name", ["", None, 5, "x" * 201])
    def test_a_name_that_is_none_is_refused(self, orchestrator: Orchestrator, name: Any) -> None:
        with pytest.raises(ValueError, match="a queue name is text of 1 to 200 characters"):
            orchestrator.declare_queue(name)

    def test_a_name_that_cannot_be_written_is_refused(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(ValueError, match="queue name"):
            orchestrator.declare_queue("\ud800")

    @pytest.mark.parametrize("max_priority", [-5, "high", 1.5])
    def test_a_greatest_priority_that_is_none_is_refused(
        self, orchestrator: Orchestrator, max_priority: Any
    ) -> None:
        with pytest.raises(ValueError, match="max_priority"):
            orchestrator.declare_queue("ranked", max_priority=max_priority)

    def test_a_greatest_priority_of_a_queue_without_priorities_is_refused(
        self, orchestrator: Orchestrator
    ) -> None:
        with pytest.raises(ValueError, match="max_priority"):
            orchestrator.declare_queue("ranked", "fifo", max_priority=5)

    @pytest.mark.parametrize(
        "options",
        [
            {"max_deliveries": 0},
            {"lease": 0},
            {"timeout": -1},
            {"result_ttl": 0},
            {"dead_letter_ttl": -1},
            {"timeout": float("nan")},
        ],
    )
    def test_options_that_mean_nothing_are_refused(
        self, orchestrator: Orchestrator, options: dict[str, Any]
    ) -> None:
        (name,) = options

        with pytest.raises(ValueError, match=name):
            orchestrator.declare_queue("tasks", **options)

        assert orchestrator.backend.store.queues() == {}

    def test_an_option_that_does_not_exist_is_refused(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(TypeError, match="max_delivery"):
            orchestrator.declare_queue("tasks", max_delivery=3)

    def test_a_retry_that_is_no_policy_is_refused(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        for call in (
            lambda: orchestrator.declare_queue("others", retry=3),
            lambda: orchestrator.publish("tasks", Job(name="any", payload={}), retry=3),
            lambda: orchestrator.register(JobSchema(name="more", retry=3)),
        ):
            with pytest.raises((TypeError, ValueError), match="retry"):
                call()


class TestResults:
    """A result without a JSON form fails the job with that reason."""

    @pytest.mark.parametrize(
        "output",
        [object(), {"a": {1: print}}, lambda: 1, b"\xff", "\ud800"],
        ids=["object", "nested", "function", "bytes", "surrogate"],
    )
    @pytest.mark.parametrize("kept", [True, False])
    def test_it_is_dead_lettered(
        self, orchestrator: Orchestrator, output: object, kept: bool
    ) -> None:
        orchestrator.declare_queue("tasks")
        job_id = orchestrator.publish("tasks", Job(name="any", payload={}), keep_result=kept)

        handled = drain(orchestrator, "tasks", lambda _: output)

        (letter,) = orchestrator.dead_letters("tasks")
        assert handled == 1
        assert (letter.job_id, letter.reason) == (job_id, "failed")
        assert letter.error_type == "JobValidationError"
        assert letter.message
        with pytest.raises(JobFailedError, match="JobValidationError"):
            orchestrator.handle(job_id).result(0)

    def test_a_result_that_does_not_fit_its_schema_names_the_field(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.submit(sums(), Pair())

        drain(orchestrator, "sums", lambda _: {"sum": 1})

        assert dead(orchestrator, "sums") == [
            (
                "failed",
                "JobValidationError",
                "The result does not fit schema 'sums': total: field required.",
            )
        ]

    def test_it_is_retried_as_any_failure(self, orchestrator: Orchestrator) -> None:
        orchestrator.register(sums(), retry=RetryPolicy(3, backoff=0, jitter=0))
        outputs: list[Any] = [{"sum": 1}, object(), {"total": 2}]
        handle = orchestrator.submit(sums(), Pair())

        consumer_of(orchestrator, "sums", lambda _: outputs.pop(0)).consume(3)

        assert handle.result(0) == Sum(total=2)


class TestPayloadSize:
    def test_the_limit_is_sixteen_mebibytes(self, client: LocalClient) -> None:
        assert client.max_payload == 16 * 1024 * 1024

    def test_more_is_refused_with_both_numbers(self) -> None:
        with LocalClient.in_memory(max_payload=1000) as client:
            orchestrator = Orchestrator(client)
            orchestrator.declare_queue("tasks")

            with pytest.raises(PayloadTooLargeError, match=r"the limit is 1,000") as caught:
                orchestrator.publish("tasks", Job(name="any", payload="x" * 1000))

            assert caught.value.limit == 1000
            assert caught.value.size > 1000
            assert isinstance(caught.value, ValueError)
            assert orchestrator.count_queue_messages("tasks") == 0

    def test_of_a_batch_with_one_too_large_nothing_is_published(self) -> None:
        with LocalClient.in_memory(max_payload=1000) as client:
            orchestrator = Orchestrator(client)
            orchestrator.declare_queue("tasks")

            with pytest.raises(PayloadTooLargeError):
                orchestrator.publish_many(
                    "tasks", [Job(name="any", payload="x" * n) for n in (1, 2000)]
                )

            assert orchestrator.count_queue_messages("tasks") == 0

    def test_bytes_are_counted_and_not_characters(self) -> None:
        with LocalClient.in_memory(max_payload=1000) as client:
            orchestrator = Orchestrator(client)
            orchestrator.declare_queue("tasks")
            orchestrator.publish("tasks", Job(name="any", payload="x" * 600))

            with pytest.raises(PayloadTooLargeError):
                orchestrator.publish("tasks", Job(name="any", payload="ü" * 600))

            assert orchestrator.count_queue_messages("tasks") == 1

    def test_a_bare_input_has_the_same_limit(self) -> None:
        class Text(BaseModel):
            text: str

        with LocalClient.in_memory(max_payload=1000) as client:
            orchestrator = Orchestrator(client)
            queue = orchestrator.register(JobSchema(name="texts", input_schema=Text))

            with pytest.raises(PayloadTooLargeError):
                orchestrator.publish(queue, Text(text="x" * 1000))

    def test_the_default_limit_refuses_seventeen_mebibytes(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("tasks")

        with pytest.raises(PayloadTooLargeError, match="max_payload"):
            orchestrator.publish("tasks", Job(name="any", payload="x" * (17 * 1024 * 1024)))


class TestPublishOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"priority": 1.5}, "priority takes an integer, not float"),
            ({"priority": "5"}, "priority takes an integer, not str"),
            ({"priority": True}, "priority takes an integer, not bool"),
            ({"priority": 1 << 62}, "priority lies between"),
            ({"delay": -1}, "delay takes seconds that are not negative"),
            ({"delay": "soon"}, "delay takes seconds"),
            ({"delay": float("nan")}, "delay takes seconds"),
            ({"delay": float("inf")}, "delay takes seconds"),
            ({"delay": True}, "delay takes seconds"),
            (
                {"delay": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)},
                "either delay= or at=, not both",
            ),
            (
                {"delay": 0, "at": datetime(2030, 1, 1, tzinfo=UTC)},
                "either delay= or at=, not both",
            ),
            ({"at": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the point
            ({"at": 5.0}, "time zone"),
            ({"ttl": 0}, "ttl takes seconds above 0"),
            ({"timeout": -1}, "timeout takes seconds above 0"),
            ({"result_ttl": 0}, "result_ttl takes seconds above 0"),
            ({"dedup_ttl": 5}, "dedup_ttl= goes with dedup_key="),
            ({"dedup_key": "k", "dedup_ttl": -1}, "dedup_ttl takes seconds"),
            ({"dedup_key": object()}, "dedup_key"),
        ],
    )
    def test_what_means_nothing_is_a_value_error_and_nothing_is_sent(
        self, orchestrator: Orchestrator, options: dict[str, Any], words: str
    ) -> None:
        orchestrator.declare_queue("tasks", "priority")
        job = Job(name="any", payload={})

        for publish in (
            lambda: orchestrator.publish("tasks", job, **options),
            lambda: orchestrator.publish_many("tasks", [job], **options),
            lambda: orchestrator.backend.publish("tasks", job, **options),
        ):
            with pytest.raises(ValueError, match=words):
                publish()

        assert orchestrator.count_queue_messages("tasks") == 0

    def test_an_option_that_does_not_exist_is_refused(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        with pytest.raises(TypeError, match="prioirty"):
            orchestrator.publish("tasks", Job(name="any", payload={}), prioirty=5)

    def test_the_priority_of_a_job_is_checked_too(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        job = Job(name="any", payload={})
        job.priority = "high"  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]

        with pytest.raises(ValueError, match="priority takes an integer"):
            orchestrator.publish("tasks", job)

    def test_a_moment_in_the_past_is_no_delay(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        past = datetime(2001, 1, 1, tzinfo=UTC) - timedelta(days=1)

        orchestrator.publish("tasks", Job(name="any", payload={}), at=past)

        assert orchestrator.count_queue_messages("tasks") == 1

    def test_nothing_to_publish_is_an_error(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        with pytest.raises(ValueError, match="what is to be published"):
            orchestrator.publish("tasks")


class TestConsumers:
    def test_connecting_one_object_twice_is_a_clear_error(self, orchestrator: Orchestrator) -> None:
        consumer = Runner(add)
        consumer.connect_to_orchestrator(orchestrator, "first")

        with pytest.raises(RuntimeError, match="already connected to queue 'first'"):
            consumer.connect_to_orchestrator(orchestrator, "second")

        assert consumer.queue_name == "first"
        assert "second" not in orchestrator.backend.store.queues()

    def test_connecting_without_a_queue_is_a_clear_error(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(ValueError, match="which queue"):
            Runner(add).connect(orchestrator)

    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ({"num_messages": -1}, "num_messages"),
            ({"concurrency": 0}, "concurrency"),
            ({"timeout": -1}, "timeout"),
            ({"timeout": float("nan")}, "timeout"),
            ({"prefetch": 0}, "prefetch"),
            ({"prefetch_count": -1}, "prefetch"),
        ],
    )
    def test_consuming_with_numbers_that_mean_nothing_is_a_value_error(
        self, orchestrator: Orchestrator, how: dict[str, Any], words: str
    ) -> None:
        consumer = consumer_of(orchestrator, "tasks", add)

        with pytest.raises(ValueError, match=words):
            consumer.consume(**how)

        assert consumer.consume(block=False) == 0

    def test_a_consumer_backend_without_a_handler_says_so(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        backend = orchestrator.backend.create_consumer_backend("tasks", orchestrator)

        with pytest.raises(RuntimeError, match="no handler"):
            backend.consume(1)

    def test_backend_arguments_of_another_shape_are_refused(self) -> None:
        with pytest.raises(ValueError, match="consumer_backend_args"):
            Runner(add).connect_to_orchestrator_via_backend_args({"url": "x"}, "tasks")


class TestHandlersAndMessages:
    """Whatever a handler raises and whatever lies in a queue, the consumer goes on."""

    def goes_on(self, orchestrator: Orchestrator, run: Callable[[Any], Any]) -> tuple[str, str]:
        """Run a bad job and a good one; return reason and error type of the bad one."""
        orchestrator.declare_queue("tasks")
        bad = orchestrator.publish("tasks", Job(name="bad", payload={}))
        orchestrator.publish("tasks", Job(name="good", payload={}))
        seen: list[str] = []

        def handle(job: Any) -> None:
            seen.append(job.name)
            if job.name == "bad":
                run(job)

        handled = drain(orchestrator, "tasks", handle)

        (letter,) = orchestrator.dead_letters("tasks")
        assert (handled, seen, letter.job_id) == (2, ["bad", "good"], bad)
        return letter.reason, letter.error_type

    def test_an_exception_without_a_readable_text(self, orchestrator: Orchestrator) -> None:
        class Unreadable(Exception):  # noqa: N818 - a bad one in every way
            def __str__(self) -> str:
                raise RuntimeError

        def run(_: Any) -> None:
            raise Unreadable

        assert self.goes_on(orchestrator, run) == ("failed", "Unreadable")

    @pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), BaseException("x")])
    def test_an_exception_that_is_no_exception(
        self, orchestrator: Orchestrator, error: BaseException
    ) -> None:
        def run(_: Any) -> None:
            raise error

        assert self.goes_on(orchestrator, run) == ("failed", type(error).__name__)

    @pytest.mark.parametrize("reason", [404, ValueError("x"), None])
    def test_a_rejection_with_anything_but_text(
        self, orchestrator: Orchestrator, reason: Any
    ) -> None:
        def run(_: Any) -> None:
            raise Reject(reason)

        assert self.goes_on(orchestrator, run) == ("rejected", "Reject")

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "no json",
            "5",
            "[]",
            "{}",
            '{"payload":{},"options":5}',
            '{"payload":{},"options":{"retry":5}}',
            '{"payload":{},"options":{"retry":{"max_attempts":0}}}',
            '{"payload":{},"options":{"timeout":"x"}}',
            '{"payload":{},"options":{"timeout":-1}}',
        ],
    )
    def test_a_message_that_is_no_job_is_a_dead_letter(
        self, orchestrator: Orchestrator, body: str
    ) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.backend.store.publish("tasks", [Entry("bad", body)])
        orchestrator.publish("tasks", Job(id="good", name="good", payload={}))
        seen: list[str] = []

        handled = drain(orchestrator, "tasks", lambda job: seen.append(job.id))

        (letter,) = orchestrator.dead_letters("tasks")
        assert (handled, seen) == (2, ["good"])
        assert (letter.job_id, letter.reason, letter.body) == ("bad", "invalid", body)

    def test_a_retry_policy_of_a_later_release_is_understood_as_far_as_known(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("tasks")
        body = (
            '{"payload":{},"options":{"retry":{"max_attempts":2,"backoff":0,"jitter":0,"new":1}}}'
        )
        orchestrator.backend.store.publish("tasks", [Entry("one", body)])
        attempts: list[int] = []

        def run(job: Any) -> None:
            attempts.append(job.attempts)
            raise LookupError

        consumer_of(orchestrator, "tasks", run).consume(block=False)

        assert attempts == [0, 1]

    def test_a_validator_that_raises_something_else_makes_a_dead_letter(
        self, orchestrator: Orchestrator
    ) -> None:
        class Odd(BaseModel):
            a: int

            @field_validator("a")
            @classmethod
            def _check(cls, value: int) -> int:
                raise KeyError(value)

        schema = JobSchema(name="odd", input_schema=Odd, output_schema=None)
        orchestrator.register(schema)
        orchestrator.backend.publish("odd", Job(name="odd", payload={"a": 1}))

        handled = drain(orchestrator, "odd")

        assert handled == 1
        assert [each[0] for each in dead(orchestrator, "odd")] == ["invalid"]

    def test_a_validator_of_the_output_that_raises_something_else_fails_the_job(
        self, orchestrator: Orchestrator
    ) -> None:
        class Odd(BaseModel):
            a: int

            @field_validator("a")
            @classmethod
            def _check(cls, value: int) -> int:
                raise KeyError(value)

        orchestrator.submit(JobSchema(name="odd", output_schema=Odd), {})

        handled = drain(orchestrator, "odd", lambda _: {"a": 1})

        assert handled == 1
        assert [each[:2] for each in dead(orchestrator, "odd")] == [
            ("failed", "JobValidationError")
        ]


class TestModelsOfEveryShape:
    """What a model can write it can also read: from publisher to handler, and back as a result."""

    class Aliased(BaseModel):
        a: int = Field(alias="A")

    class WrittenOtherwise(BaseModel):
        a: int = Field(serialization_alias="out")

    class ReadOtherwise(BaseModel):
        model_config = ConfigDict(populate_by_name=True)

        a: int = Field(validation_alias="in")

    class Computed(BaseModel):
        model_config = ConfigDict(extra="forbid")

        a: int

        @computed_field
        def twice(self) -> int:
            return 2 * self.a

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        day: datetime
        parts: tuple[int, ...]

    class Binary(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

        raw: bytes

    MODELS: tuple[BaseModel, ...] = (
        Aliased(A=3),
        WrittenOtherwise(a=3),
        ReadOtherwise(a=3),
        Computed(a=3),
        Strict(day=datetime(2030, 1, 1, tzinfo=UTC), parts=(1, 2)),
        Binary(raw=b"\xff\x00"),
    )

    @pytest.mark.parametrize("model", MODELS, ids=lambda each: type(each).__name__)
    def test_as_an_input(self, orchestrator: Orchestrator, model: BaseModel) -> None:
        schema = JobSchema(name="shapes", input_schema=type(model))
        seen: list[BaseModel] = []
        consumer = schema.handler(seen.append)
        consumer.connect(orchestrator)
        orchestrator.publish("shapes", model)
        orchestrator.publish("shapes", job_from_schema(schema, model))

        consumer.consume(block=False)

        assert dead(orchestrator, "shapes") == []
        assert seen == [model, model]

    @pytest.mark.parametrize("model", MODELS, ids=lambda each: type(each).__name__)
    def test_as_a_result(self, orchestrator: Orchestrator, model: BaseModel) -> None:
        handle = orchestrator.submit(JobSchema(name="shapes", output_schema=type(model)), {})

        drain(orchestrator, "shapes", lambda _: model)

        assert handle.result(0) == model

    @pytest.mark.parametrize("model", MODELS, ids=lambda each: type(each).__name__)
    def test_as_the_defaults_of_a_schema(self, model: BaseModel) -> None:
        schema = JobSchema(name="shapes", input=model)

        assert job_from_schema(schema, {}).payload == model


def test_every_error_survives_pickling(orchestrator: Orchestrator) -> None:
    queue = orchestrator.register(sums())
    with pytest.raises(JobsError) as caught:
        orchestrator.publish(queue, Job(name="sum", payload={"a": "x"}))

    copy = pickle.loads(pickle.dumps(caught.value))

    assert str(copy) == str(caught.value)
    assert vars(copy) == vars(caught.value)
