"""Every call that the older documents show runs here, in words of our own."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import entry_points
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import run_python
from pydantic import BaseModel, ValidationError

import mindtrace.jobs
from mindtrace.core import Mindtrace, MindtraceABC, TaskSchema, utcnow
from mindtrace.jobs import (
    QUEUE_MAPPING,
    BackendType,
    Consumer,
    ExecutionStatus,
    Job,
    JobDict,
    JobInput,
    JobOutput,
    JobSchema,
    LocalClient,
    LocalConsumerBackend,
    LocalPriorityQueue,
    LocalQueue,
    LocalStack,
    Orchestrator,
    OrchestratorBackend,
    QueueNotFoundError,
    QueueTypeMismatchError,
    SchemaNotFoundError,
    get_queue_for_job,
    get_queue_for_job_type,
    job_from_schema,
)
from mindtrace.jobs.mindtrace.types import JobType

if TYPE_CHECKING:
    from pathlib import Path


class AreaInput(BaseModel):
    shape: str = "rectangle"
    width: float = 2.0
    height: float = 1.0


class AreaOutput(BaseModel):
    area: float = 0.0
    how: str = ""


def area_of(values: dict[str, Any]) -> dict[str, Any]:
    width, height = values["width"], values["height"]
    if values.get("shape", "rectangle") == "rectangle":
        return {"area": width * height, "how": f"{width} * {height}"}
    message = f"no formula for {values['shape']}"
    raise ValueError(message)


class NewAreaConsumer(Consumer):
    """As the newest document writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[dict[str, Any]] = []

    def run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        self.outputs.append(area_of(job_dict.get("payload", {})))
        return self.outputs[-1]


class InputDataConsumer(Consumer):
    """As the document before it does: a name at construction, and `input_data`."""

    def __init__(self, job_type_name: str | None = None) -> None:
        super().__init__(job_type_name)
        self.outputs: list[dict[str, Any]] = []

    def run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        self.outputs.append(area_of(job_dict.get("input_data", {})))
        return self.outputs[-1]


class AttributeConsumer(Consumer):
    """As the oldest one does: a job with attributes, and no result."""

    def __init__(self, job_type_name: str) -> None:
        super().__init__(job_type_name)
        self.seen: list[tuple[str, Any]] = []

    def run(self, job: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as written
        self.seen.append((job.id, job.payload))


@pytest.fixture
def area_schema() -> JobSchema:
    return JobSchema(name="areas", input_schema=AreaInput, output_schema=AreaOutput)


class TestNewestForm:
    """Seed 000."""

    def test_quick_start(self, orchestrator: Orchestrator, area_schema: JobSchema) -> None:
        orchestrator.register(area_schema)
        consumer = NewAreaConsumer()
        consumer.connect_to_orchestrator(orchestrator, "areas")
        job = job_from_schema(area_schema, AreaInput(width=7.0, height=3.0))

        published = orchestrator.publish("areas", job)
        consumer.consume(num_messages=1)

        assert published == job.id
        assert consumer.outputs == [{"area": 21.0, "how": "7.0 * 3.0"}]

    def test_a_schema_is_a_task_schema(self) -> None:
        assert JobSchema is TaskSchema

    def test_a_schema_needs_no_output(self) -> None:
        schema = JobSchema(name="areas", input_schema=AreaInput)

        assert schema.output_schema is None

    def test_a_job_of_a_dict_has_an_id_and_the_name_of_its_schema(
        self, area_schema: JobSchema
    ) -> None:
        job = job_from_schema(area_schema, {"width": 5})

        assert isinstance(job.id, str)
        assert job.schema_name == "areas"
        assert job.payload == AreaInput(width=5.0)

    def test_register_returns_the_name_of_the_queue(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        queue_name = orchestrator.register(area_schema)

        assert queue_name == "areas"
        assert orchestrator.count_queue_messages("areas") == 0

    def test_an_input_model_is_published_as_it_is(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)

        job_id = orchestrator.publish("areas", AreaInput(width=4.0))

        taken = orchestrator.receive_message("areas")
        assert taken is not None
        assert (taken.id, taken.payload["width"]) == (job_id, 4.0)

    def test_consuming_until_empty_drains_a_backlog(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)
        for width in range(5):
            orchestrator.publish("areas", AreaInput(width=width))
        consumer = NewAreaConsumer()
        consumer.connect_to_orchestrator(orchestrator, "areas")

        consumer.consume_until_empty()
        consumer.consume_until_empty(queues=["areas"], block=True)
        consumer.consume_until_empty("areas", block=False)

        assert [each["area"] for each in consumer.outputs] == [0, 1, 2, 3, 4]
        assert orchestrator.count_queue_messages("areas") == 0

    @pytest.mark.parametrize("queue_type", ["fifo", "stack", "priority"])
    def test_queue_types_are_chosen_when_a_queue_is_declared(
        self, client: LocalClient, queue_type: str
    ) -> None:
        said = client.declare_queue("tasks", queue_type=queue_type)

        assert said["status"] == "success"
        assert client.queues == {"tasks": queue_type}

    def test_a_stack_is_last_in_first_out(self, client: LocalClient) -> None:
        orchestrator = Orchestrator(client)
        client.declare_queue("tasks", queue_type="stack")
        first, second = (
            orchestrator.publish("tasks", Job(name="area", payload={})) for _ in range(2)
        )

        taken = [orchestrator.receive_message("tasks") for _ in range(2)]

        assert [job and job.id for job in taken] == [second, first]

    def test_higher_numbers_come_first_in_a_priority_queue(self, client: LocalClient) -> None:
        orchestrator = Orchestrator(client)
        client.declare_queue("urgent_areas", queue_type="priority")
        job = {n: Job(name="area", payload={"n": n}) for n in (1, 5, 10)}
        orchestrator.publish("urgent_areas", job[1], priority=1)
        orchestrator.publish("urgent_areas", job[10], priority=10)
        orchestrator.publish("urgent_areas", job[5], priority=5)

        taken = [orchestrator.receive_message("urgent_areas") for _ in range(3)]

        assert [each and each.payload["n"] for each in taken] == [10, 5, 1]

    def test_the_rabbitmq_way_of_declaring_a_priority_queue_works_here_too(
        self, client: LocalClient
    ) -> None:
        client.declare_queue("ranked", max_priority=255)

        assert client.queues == {"ranked": "priority"}

    def test_consumer_and_schema_stay_the_same_when_the_backend_changes(
        self, area_schema: JobSchema, folder: Path
    ) -> None:
        for backend in (LocalClient.in_memory(), LocalClient(folder)):
            with backend:
                orchestrator = Orchestrator(backend)
                orchestrator.register(area_schema)
                orchestrator.publish("areas", AreaInput(width=3))
                consumer = NewAreaConsumer()
                consumer.connect_to_orchestrator(orchestrator, "areas")

                consumer.consume(num_messages=1)

                assert consumer.outputs == [{"area": 3.0, "how": "3.0 * 1.0"}]

    def test_local_queue_objects_can_be_used_by_themselves(self) -> None:
        plain, stack, ranked = LocalQueue(), LocalStack(), LocalPriorityQueue()
        for item in ("a", "b"):
            plain.push(item)
            stack.push(item)
        ranked.push("a", priority=1)
        ranked.push("b", priority=2)

        assert [plain.pop(), plain.pop()] == ["a", "b"]
        assert [stack.pop(), stack.pop()] == ["b", "a"]
        assert [ranked.pop(), ranked.pop()] == ["b", "a"]
        with pytest.raises(Empty):
            plain.pop(block=False)

    @pytest.mark.process
    def test_a_client_without_arguments_keeps_jobs_in_the_configured_folder(
        self, tmp_path: Path
    ) -> None:
        publish = (
            "from mindtrace.jobs import Job, LocalClient, Orchestrator\n"
            "orchestrator = Orchestrator(LocalClient())\n"
            "orchestrator.declare_queue('areas')\n"
            "print(orchestrator.publish('areas', Job(name='area', payload={})))\n"
        )
        look = (
            "from mindtrace.jobs import Orchestrator\n"
            "print(Orchestrator().receive_message('areas').id)\n"
        )

        published = run_python(publish, MINDTRACE_DIR_PATHS__ROOT=tmp_path)

        assert run_python(look, MINDTRACE_DIR_PATHS__ROOT=tmp_path) == published
        assert list(tmp_path.rglob("jobs.db"))


class TestInputDataForm:
    """Seed 001."""

    def test_basic_example(self, orchestrator: Orchestrator) -> None:
        schema = JobSchema(name="areas", input=AreaInput(), output=AreaOutput())
        orchestrator.register(schema)
        consumer = InputDataConsumer("areas")
        consumer.connect(orchestrator)
        job = job_from_schema(schema, AreaInput(width=7.0, height=3.0))
        orchestrator.publish("areas", job)

        consumer.consume(num_messages=1)

        assert consumer.outputs == [{"area": 21.0, "how": "7.0 * 3.0"}]

    def test_a_schema_of_instances_reads_both_ways(self) -> None:
        schema = JobSchema(name="areas", input=AreaInput(width=9), output=AreaOutput)

        assert schema.input_schema is AreaInput
        assert schema.output_schema is AreaOutput
        assert schema.input == AreaInput(width=9)
        assert schema.output is AreaOutput

    def test_the_instance_fills_the_gaps_of_a_dict(self) -> None:
        schema = JobSchema(name="areas", input=AreaInput(width=9, height=8))

        job = job_from_schema(schema, {"height": 2})

        assert job.payload == AreaInput(width=9, height=2)

    def test_the_consumer_backend_is_found_by_connecting(self, orchestrator: Orchestrator) -> None:
        consumer = InputDataConsumer("areas")

        consumer.connect(orchestrator)

        assert type(consumer.consumer_backend).__name__ == "LocalConsumerBackend"

    def test_a_consumer_backend_is_made_for_a_schema(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)

        backend = orchestrator.create_consumer_backend_for_schema(area_schema)

        assert isinstance(backend, LocalConsumerBackend)
        assert backend.queues == ["areas"]

    def test_a_consumer_backend_is_constructed_with_queue_and_orchestrator(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("areas")
        orchestrator.publish("areas", Job(name="area", payload={"width": 1}))
        seen: list[Any] = []

        LocalConsumerBackend("areas", orchestrator, seen.append).consume(1)

        assert [job.payload for job in seen] == [{"width": 1}]

    def test_a_message_is_received_as_a_dict(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")
        job_id = orchestrator.publish("areas", Job(name="area", payload={"width": 2}))

        taken = orchestrator.receive_message("areas")

        assert isinstance(taken, dict)
        assert taken["id"] == job_id
        assert taken["input_data"] == {"width": 2}
        assert orchestrator.receive_message("areas") is None


class TestJobTypeForm:
    """Seed 002."""

    class TrainingInput(JobInput):
        network: str
        rounds: int
        size: int = 32

    class TrainingOutput(JobOutput):
        accuracy: float

    class Finding(JobSchema):
        """A schema without a name of its own."""

    def test_a_job_with_a_schema_as_its_payload_means_that_input(
        self, orchestrator: Orchestrator
    ) -> None:
        schema = JobSchema(
            name="training",
            input=self.TrainingInput(network="small", rounds=5),
            output=self.TrainingOutput,
        )
        job = Job(
            id="job_7",
            name="night_training",
            job_type=JobType.CLASSIFICATION,
            payload=schema,
            priority=5,
        )

        published = orchestrator.publish(job)

        taken = orchestrator.receive_message("classification_jobs")
        assert published == "job_7"
        assert taken is not None
        assert taken.payload == {"network": "small", "rounds": 5, "size": 32}
        assert (taken.schema_name, taken.name, taken.priority) == ("training", "night_training", 5)
        assert taken.job_type == JobType.CLASSIFICATION

    def test_a_schema_subclass_without_a_name_and_an_entrypoint(
        self, orchestrator: Orchestrator
    ) -> None:
        job = Job(
            id="finding_1",
            name="find_things",
            job_type=JobType.OBJECT_DETECTION,
            payload=self.Finding(input=self.TrainingInput("small", 3), output=None),  # pyright: ignore[reportCallIssue]
            entrypoint="find.py",
        )

        orchestrator.declare_queue("detection_jobs")
        orchestrator.publish("detection_jobs", job)

        taken = orchestrator.receive_message("detection_jobs")
        assert taken is not None
        assert taken.schema_name == "Finding"
        assert taken.entrypoint == "find.py"
        assert taken.input_data["rounds"] == 3

    def test_queues_are_counted_and_cleaned(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("detection_jobs")
        for _ in range(3):
            orchestrator.publish("detection_jobs", Job(name="find", payload={}))

        count = orchestrator.count_queue_messages("detection_jobs")
        cleaned = orchestrator.clean_queue("detection_jobs")

        assert (count, cleaned) == (3, 3)
        assert orchestrator.count_queue_messages("detection_jobs") == 0

    @pytest.mark.parametrize(
        ("job_type", "queue"),
        [
            (JobType.ML_TRAINING, "ml_training_jobs"),
            (JobType.OBJECT_DETECTION, "detection_jobs"),
            (JobType.DATA_PROCESSING, "data_jobs"),
            (JobType.CLASSIFICATION, "classification_jobs"),
            (JobType.DEFAULT, "default_jobs"),
        ],
    )
    def test_each_job_type_has_its_queue(
        self, orchestrator: Orchestrator, job_type: JobType, queue: str
    ) -> None:
        job = Job(name="something", payload={}, job_type=job_type)

        orchestrator.publish(job)

        assert QUEUE_MAPPING[job_type] == queue
        assert get_queue_for_job(job) == get_queue_for_job_type(job_type) == queue
        assert orchestrator.count_queue_messages(queue) == 1

    def test_the_type_module_names_the_same_class(self) -> None:
        assert mindtrace.jobs.JobType is JobType

    def test_without_a_job_type_the_schema_it_names_comes_first(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)

        orchestrator.publish(Job(name="any", schema_name="areas", payload=AreaInput()))

        assert orchestrator.count_queue_messages("areas") == 1

    def test_else_the_class_of_the_payload_decides(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)

        orchestrator.publish(Job(name="any", payload=AreaInput()))
        orchestrator.publish(AreaInput())

        assert orchestrator.count_queue_messages("areas") == 2

    def test_a_job_type_wins_over_a_registered_schema(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)

        orchestrator.publish(
            Job(name="areas", job_type=JobType.DATA_PROCESSING, payload=AreaInput())
        )

        assert orchestrator.count_queue_messages("data_jobs") == 1
        assert orchestrator.count_queue_messages("areas") == 0

    def test_input_models_take_their_fields_by_position(self) -> None:
        assert self.TrainingInput("small", 3) == self.TrainingInput(network="small", rounds=3)  # pyright: ignore[reportCallIssue]
        assert self.TrainingOutput(0.5).accuracy == 0.5  # pyright: ignore[reportCallIssue]
        with pytest.raises(TypeError, match="3 positional arguments"):
            self.TrainingInput("small", 3, 4, 5)  # pyright: ignore[reportCallIssue]


class TestAttributeForm:
    """Seed 003."""

    def test_a_consumer_reads_attributes(self, orchestrator: Orchestrator) -> None:
        schema = JobSchema(name="areas", input=AreaInput(), output=AreaOutput())
        orchestrator.register(schema)
        ids = [orchestrator.publish("areas", AreaInput(width=each)) for each in range(5)]
        consumer = AttributeConsumer("areas")
        consumer.connect(orchestrator)

        consumer.consume(num_messages=5)

        assert [job_id for job_id, _ in consumer.seen] == ids
        assert [payload["width"] for _, payload in consumer.seen] == [0, 1, 2, 3, 4]

    def test_several_backends_in_turn_name_their_engine(self, folder: Path) -> None:
        names: list[str] = []
        for backend in (LocalClient.in_memory(), LocalClient(folder)):
            with backend:
                orchestrator = Orchestrator(backend)
                orchestrator.register(JobSchema(name="areas", input=AreaInput()))
                consumer = AttributeConsumer("areas")
                consumer.connect(orchestrator)
                names.append(type(consumer.consumer_backend).__name__)

                consumer.consume(num_messages=1, block=False)

        assert names == ["LocalConsumerBackend", "LocalConsumerBackend"]

    def test_the_base_classes_are_mindtraces(self, client: LocalClient) -> None:
        assert issubclass(Consumer, MindtraceABC)
        assert issubclass(Orchestrator, Mindtrace)
        assert issubclass(OrchestratorBackend, MindtraceABC)

    def test_a_prefetch_count_can_be_given(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")
        orchestrator.publish("areas", Job(name="area", payload={}))
        consumer = AttributeConsumer("areas")
        consumer.connect(orchestrator)

        handled = consumer.consume(num_messages=1, prefetch_count=1)

        assert handled == 1

    def test_none_and_zero_messages_mean_no_limit(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")
        consumer = AttributeConsumer("areas")
        consumer.connect(orchestrator)

        for number in (None, 0):
            for _ in range(3):
                orchestrator.publish("areas", Job(name="area", payload={}))
            assert consumer.consume(num_messages=number, block=False) == 3


OTHER_CLIENTS = [
    ("redis", "RedisClient", {"host": "localhost", "port": 6379, "db": 0}),
    ("redis", "RedisClient", {"host": "redis.cluster.local", "port": 6379}),
    (
        "rabbitmq",
        "RabbitMQClient",
        {"host": "localhost", "port": 5672, "username": "user", "password": "hush"},
    ),
]
OTHER_ENGINES = [("redis", "RedisConsumerBackend"), ("rabbitmq", "RabbitMQConsumerBackend")]


def installed(backend: str) -> bool:
    return bool(entry_points(group="mindtrace.jobs.backends", name=backend))


class TestOtherBackends:
    """Their clients are of other packages: until those are installed, they say how to get them."""

    @pytest.mark.parametrize(("backend", "name", "arguments"), OTHER_CLIENTS)
    def test_constructing_a_client_opens_nothing_or_says_what_to_install(
        self, backend: str, name: str, arguments: dict[str, Any]
    ) -> None:
        if installed(backend):
            assert getattr(mindtrace.jobs, name)(**arguments)
            return

        with pytest.raises(ImportError) as caught:
            getattr(mindtrace.jobs, name)(**arguments)

        assert f"pip install 'mindtrace-jobs[{backend}]'" in str(caught.value)
        assert name in str(caught.value)

    @pytest.mark.parametrize(("backend", "name"), OTHER_ENGINES)
    def test_their_consumer_backends_do_the_same(self, backend: str, name: str) -> None:
        if installed(backend):
            assert getattr(mindtrace.jobs, name).__name__ == name
            return

        with pytest.raises(
            ImportError, match=rf"{name}.*pip install 'mindtrace-jobs\[{backend}\]'"
        ):
            getattr(mindtrace.jobs, name)


class TestOlderFacts:
    """What code written for the older system relies on, beyond the documents."""

    def test_backend_types_are_words(self) -> None:
        assert [str(each.value) for each in BackendType] == ["local", "redis", "rabbitmq"]
        assert BackendType.LOCAL == "local"

    def test_statuses_are_words(self) -> None:
        assert [str(each) for each in ExecutionStatus] == [
            "queued",
            "running",
            "completed",
            "failed",
            "cancelled",
        ]

    def test_a_schema_can_be_subclassed_with_its_fields_as_defaults(
        self, orchestrator: Orchestrator
    ) -> None:
        class Areas(JobSchema):
            name: str = "areas"
            input_schema: Any = AreaInput
            output_schema: Any = AreaOutput

        assert orchestrator.register(Areas()) == "areas"
        assert job_from_schema(Areas(), {}).payload == AreaInput()

    def test_a_job_dumps_the_fields_it_always_had(self) -> None:
        job = Job(name="area", payload={"width": 1})

        assert job.model_dump().keys() >= {
            "id",
            "name",
            "schema_name",
            "payload",
            "status",
            "created_at",
            "started_at",
            "completed_at",
            "error",
            "entrypoint",
            "priority",
        }
        assert job.status == ExecutionStatus.QUEUED
        assert datetime.fromisoformat(job.created_at).tzinfo is not None
        age = utcnow() - datetime.fromisoformat(job.created_at)
        assert abs(age.days) <= 1

    def test_job_from_schema_refuses_what_it_always_refused(self, area_schema: JobSchema) -> None:
        with pytest.raises(TypeError):
            job_from_schema(area_schema, AreaOutput())
        with pytest.raises(TypeError):
            job_from_schema(area_schema, None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with pytest.raises(ValidationError):
            job_from_schema(area_schema, {"width": "wide"})

    def test_job_from_schema_takes_an_empty_dict_where_all_fields_have_defaults(
        self, area_schema: JobSchema
    ) -> None:
        assert job_from_schema(area_schema, {}).payload == AreaInput()

    def test_an_orchestrator_takes_its_backend_by_position_or_name(
        self, client: LocalClient
    ) -> None:
        assert Orchestrator(client).backend is client
        assert Orchestrator(backend=client).backend is client

    def test_an_orchestrator_makes_a_local_client_in_a_folder(self, folder: Path) -> None:
        orchestrator = Orchestrator(orchestrator_dir=folder)

        assert isinstance(orchestrator.backend, LocalClient)
        assert orchestrator.backend.client_dir == folder
        orchestrator.close()

    def test_the_schema_of_a_job_type_is_found_again(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema, queue_type="fifo")

        found = orchestrator.get_schema_for_job_type("areas")

        assert found == {"schema": area_schema, "queue_name": "areas"}
        assert orchestrator.get_schema_for_job_type("volumes") is None

    def test_publishing_a_model_needs_a_registered_schema(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")

        with pytest.raises(ValueError, match="Schema 'areas' not found") as caught:
            orchestrator.publish("areas", AreaInput())

        assert isinstance(caught.value, SchemaNotFoundError)

    def test_publishing_anything_else_is_a_value_error(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")

        with pytest.raises(ValueError, match="not dict"):
            orchestrator.publish("areas", {"width": 1})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    def test_after_connecting_a_consumer_knows_where_it_is(
        self, orchestrator: Orchestrator, area_schema: JobSchema
    ) -> None:
        orchestrator.register(area_schema)
        consumer = AttributeConsumer("areas")

        consumer.connect(orchestrator)

        assert consumer.orchestrator is orchestrator
        assert consumer.job_schema is area_schema
        assert consumer.queue_name == "areas"

    def test_consuming_before_connecting_is_a_runtime_error(self) -> None:
        words = r"Consumer not connected. Call connect\(\) first"

        with pytest.raises(RuntimeError, match=words):
            NewAreaConsumer().consume()
        with pytest.raises(RuntimeError, match=words):
            NewAreaConsumer().consume_until_empty()

    def test_connecting_twice_is_a_runtime_error(self, orchestrator: Orchestrator) -> None:
        consumer = NewAreaConsumer()
        consumer.connect_to_orchestrator(orchestrator, "areas")

        with pytest.raises(RuntimeError, match="Consumer already connected"):
            consumer.connect_to_orchestrator(orchestrator, "areas")

    def test_a_consumer_can_be_made_without_a_run(self) -> None:
        with pytest.raises(NotImplementedError, match="run"):
            Consumer().run({})

    def test_a_keyboard_interrupt_in_run_ends_consume_quietly(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("areas")
        orchestrator.publish("areas", Job(name="area", payload={}))

        class Interrupted(Consumer):
            def run(self, job_dict: Any) -> None:
                raise KeyboardInterrupt

        consumer = Interrupted("areas")
        consumer.connect(orchestrator)

        assert consumer.consume() == 0
        assert orchestrator.count_queue_messages("areas") == 1

    def test_queues_may_be_one_name_or_several(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")
        orchestrator.declare_queue("volumes")
        for queue in ("areas", "volumes"):
            orchestrator.publish(queue, Job(name="any", payload={}))
        consumer = AttributeConsumer("areas")
        consumer.connect(orchestrator)

        assert consumer.consume(1, queues="volumes") == 1
        assert consumer.consume(0, ["areas", "volumes"], block=False) == 1

    def test_a_job_dict_has_every_key_it_always_had(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("areas")
        job_id = orchestrator.publish("areas", Job(name="area", payload={"width": 1}))
        seen: list[JobDict] = []
        LocalConsumerBackend("areas", orchestrator, seen.append).consume(1)

        (job,) = seen

        assert job.keys() >= {
            "id",
            "name",
            "schema_name",
            "payload",
            "status",
            "created_at",
            "started_at",
            "completed_at",
            "error",
            "entrypoint",
            "priority",
            "job_id",
        }
        assert job["job_id"] == job["id"] == job_id

    def test_a_client_answers_with_status_and_message(self, client: LocalClient) -> None:
        first = client.declare_queue("areas", "FIFO")
        second = client.declare_queue("areas")
        deleted = client.delete_queue("areas")

        assert {each["status"] for each in (first, second, deleted)} == {"success"}
        assert "already exists" in second["message"]

    def test_an_unknown_queue_type_is_a_type_error(self, client: LocalClient) -> None:
        with pytest.raises(TypeError, match="Unknown queue type"):
            client.declare_queue("areas", "heap")

    def test_an_unknown_queue_is_a_key_error(self, client: LocalClient) -> None:
        for call in (client.count_queue_messages, client.clean_queue, client.delete_queue):
            with pytest.raises(KeyError):
                call("areas")

    def test_another_type_of_an_existing_queue_is_refused(self, client: LocalClient) -> None:
        client.declare_queue("areas", "stack")

        with pytest.raises(QueueTypeMismatchError):
            client.declare_queue("areas", "fifo")

        assert client.queues == {"areas": "stack"}

    def test_a_client_may_be_named(self, folder: Path) -> None:
        with LocalClient(folder, broker_id="mine") as client:
            assert client.broker_id == "mine"

    def test_a_client_waits_for_a_message_when_told_to(self, client: LocalClient) -> None:
        client.declare_queue("areas")

        assert client.receive_message("areas", block=True, timeout=0.01) is None
        assert client.receive_message("areas", block=False) is None

    @pytest.mark.parametrize(
        "name",
        [
            "store_job_result",
            "get_job_result",
            "move_to_dlq",
            "declare_exchange",
            "delete_exchange",
            "count_exchanges",
        ],
    )
    def test_a_client_has_the_methods_it_always_had(self, client: LocalClient, name: str) -> None:
        assert callable(getattr(client, name))

    def test_an_unknown_queue_is_found_missing_before_anything_is_consumed(
        self, orchestrator: Orchestrator
    ) -> None:
        consumer = AttributeConsumer("areas")
        consumer.connect(orchestrator)

        with pytest.raises(QueueNotFoundError, match=r"'volumes'.*'areas'"):
            consumer.consume(queues=["volumes"])

    def test_a_consumer_backend_runs_a_message_directly(self, orchestrator: Orchestrator) -> None:
        consumer = NewAreaConsumer()
        consumer.connect_to_orchestrator(orchestrator, "areas")
        backend = consumer.consumer_backend
        assert backend is not None

        assert backend.process_message({"payload": {"width": 2, "height": 2}}) is True
        assert backend.process_message({"payload": {"shape": "blob"}}) is False
        assert backend.process_message("no job") is False

    def test_a_consumer_backend_takes_the_older_settings(self, orchestrator: Orchestrator) -> None:
        backend = LocalConsumerBackend(
            "areas", orchestrator, lambda _: None, prefetch_count=1, poll_timeout=5
        )

        backend.set_poll_timeout(1)
        backend.set_prefetch_count(3)
        backend.close()

        assert backend.poll_timeout == 1
