"""What only `RabbitMQClient` has: its ways of declaring, exchanges, foreign messages, a ledger."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from pika import BasicProperties
from pydantic import BaseModel
from rabbitmq_support import JOB, job, put, take

from mindtrace.jobs import (
    BackendUnavailableError,
    Consumer,
    Job,
    JobSchema,
    LocalClient,
    Orchestrator,
    QueueNotFoundError,
    QueueTypeMismatchError,
    RabbitMQClient,
    RabbitMQConsumerBackend,
    UnsupportedByBackendError,
)
from mindtrace.jobs.loading import backend_from_args
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import ack, reject
from mindtrace.jobs.testing.waiting import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

pytestmark = pytest.mark.rabbitmq


class Pair(BaseModel):
    a: int = 0


class Keeping(Consumer):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def run(self, job_dict: Any) -> Any:
        self.seen.append(job_dict)
        return {"doubled": 2 * job_dict["payload"].get("a", 0)}


def consumer_of(client: RabbitMQClient, queue: str) -> Keeping:
    consumer = Keeping()
    consumer.connect_to_orchestrator(Orchestrator(client), queue)
    return consumer


# declaring


def test_declaring_says_how_it_went(client: RabbitMQClient) -> None:
    first = client.declare_queue("tasks")

    assert first == {"status": "success", "message": "Queue 'tasks' declared."}
    assert client.declare_queue("tasks")["message"] == "Queue 'tasks' already exists."


def test_the_older_arguments_are_accepted(client: RabbitMQClient) -> None:
    older: dict[str, Any] = {"durable": True, "exclusive": False, "auto_delete": False}

    said = client.declare_queue("tasks", exchange=None, routing_key=None, force=True, **older)

    assert said["status"] == "success"
    assert put(client, "tasks", job("1")) == ["1"]
    client.declare_queue("tasks", force=True)
    assert client.count_queue_messages("tasks") == 1


@pytest.mark.parametrize(
    "losing", [{"durable": False}, {"exclusive": True}, {"auto_delete": True}], ids=str
)
def test_a_queue_that_would_lose_jobs_is_refused(
    client: RabbitMQClient, losing: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedByBackendError, match=r"would lose them\. Leave .* out"):
        client.declare_queue("tasks", **losing)

    assert client.store.queues() == {}


def test_an_argument_that_nobody_knows_is_refused(client: RabbitMQClient) -> None:
    with pytest.raises(TypeError, match="durabel"):
        client.declare_queue("tasks", durabel=True)


def test_there_are_no_stacks(client: RabbitMQClient) -> None:
    with pytest.raises(UnsupportedByBackendError, match="stacks"):
        client.declare_queue("tasks", "stack")


def test_classic_and_quorum_are_words_for_fifo_queues(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    client.declare_queue("plain", "classic")
    client.declare_queue("copied", "QUORUM")

    assert client.queue_stats("plain").queue_type == "fifo"
    assert client.queue_stats("copied").queue_type == "fifo"
    arguments = {"x-queue-type": "quorum"}
    for queue in ("copied", "copied.lost", "copied.dead"):
        raw.queue_declare(f"{namespace}:{queue}", durable=True, arguments=arguments)


@pytest.mark.parametrize(("first", "second"), [("quorum", "classic"), ("classic", "quorum")])
def test_a_queue_cannot_change_how_it_is_kept(
    client: RabbitMQClient, first: str, second: str
) -> None:
    client.declare_queue("tasks", first)

    with pytest.raises(QueueTypeMismatchError, match=f"is a {first} queue .* a {second} queue"):
        client.declare_queue("tasks", second)
    for as_it_is in (None, "fifo", first):
        assert "already" in client.declare_queue("tasks", as_it_is)["message"]


def test_a_priority_queue_cannot_be_replicated(client: RabbitMQClient) -> None:
    with pytest.raises(UnsupportedByBackendError, match="priorities on a quorum queue"):
        client.declare_queue("tasks", "quorum", max_priority=5)


@pytest.mark.parametrize("highest", [1, 5, 255])
def test_priorities_go_from_nothing_to_the_highest(client: RabbitMQClient, highest: int) -> None:
    client.declare_queue("tasks", max_priority=highest)
    middle = (highest + 1) // 2

    put(client, "tasks", job("low"), job("mid", priority=middle), job("high", priority=highest))

    found = [take(client, "tasks")[0].priority for _ in range(3)]
    assert found == [highest, middle, 0]


@pytest.mark.parametrize("priority", [6, -1, 256])
def test_a_priority_beyond_them_is_refused(client: RabbitMQClient, priority: int) -> None:
    client.declare_queue("tasks", max_priority=5)

    with pytest.raises(ValueError, match=f"priorities from 0 to 5, not {priority}"):
        client.publish("tasks", Job(name="any", payload={}), priority=priority)
    with pytest.raises(ValueError, match="from 0 to 5"):
        put(client, "tasks", job(priority=5), job(priority=priority))

    assert client.count_queue_messages("tasks") == 0


@pytest.mark.parametrize("highest", [0, 256, True, "5"], ids=repr)
def test_a_highest_priority_that_rabbitmq_has_not_is_refused(
    client: RabbitMQClient, highest: Any
) -> None:
    with pytest.raises(ValueError, match="max_priority takes an integer from 1 to 255"):
        client.declare_queue("tasks", max_priority=highest)


def test_the_highest_priority_cannot_change(client: RabbitMQClient) -> None:
    client.declare_queue("tasks", max_priority=5)

    with pytest.raises(QueueTypeMismatchError, match="max_priority=5"):
        client.declare_queue("tasks", max_priority=6)
    assert "already" in client.declare_queue("tasks", "priority")["message"]


def test_a_priority_queue_has_255_levels_unless_said(client: RabbitMQClient) -> None:
    client.declare_queue("tasks", "priority")

    assert put(client, "tasks", job("1", priority=255)) == ["1"]


def test_a_priority_is_carried_on_a_fifo_queue(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job("1", priority=3), job("2", priority=900))

    assert [(each.id, each.priority) for each in take(client, "tasks", 2)] == [("1", 3), ("2", 900)]


def test_a_queue_that_others_declared_otherwise_is_told(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    raw.queue_declare(f"{namespace}:tasks", durable=False)
    try:
        with pytest.raises(QueueTypeMismatchError, match="differently declared"):
            client.declare_queue("tasks")
        assert client.store.queues() == {}
    finally:
        raw.queue_delete(f"{namespace}:tasks")


@pytest.mark.parametrize(
    "queue", ["images.dead", "a:b", "日 本", "amq.x", "mindtrace.queues", "x" * 200]
)
def test_any_text_names_a_queue(client: RabbitMQClient, queue: str) -> None:
    client.declare_queue(queue)
    client.declare_queue("images")
    put(client, queue, job("1"))

    assert [each.id for each in take(client, queue)] == ["1"]
    assert client.dead_letters("images") == []


# exchanges


@pytest.fixture
def exchange(client: RabbitMQClient, namespace: str) -> Iterator[str]:
    """The name of an exchange, which is removed afterwards."""
    yield namespace
    client.delete_exchange(exchange=namespace)


def test_an_exchange_comes_and_goes(client: RabbitMQClient, exchange: str) -> None:
    assert client.count_exchanges(exchange=exchange) == 0

    made = client.declare_exchange(exchange=exchange)
    again = client.declare_exchange(exchange=exchange)

    assert made == {"status": "success", "message": f"Exchange {exchange!r} declared."}
    assert again == {"status": "success", "message": f"Exchange {exchange!r} already exists."}
    assert client.count_exchanges(exchange=exchange) == 1
    gone = client.delete_exchange(exchange=exchange)
    assert gone == {"status": "success", "message": f"Exchange {exchange!r} deleted."}
    assert client.count_exchanges(exchange=exchange) == 0
    assert client.delete_exchange(exchange=exchange)["status"] == "success"


def test_an_exchange_with_other_properties_is_told(client: RabbitMQClient, exchange: str) -> None:
    client.declare_exchange(exchange=exchange, exchange_type="topic")

    with pytest.raises(ValueError, match="exists with other properties"):
        client.declare_exchange(exchange=exchange)
    assert client.count_exchanges(exchange=exchange) == 1


@pytest.mark.parametrize(("name", "kind"), [("", "direct"), ("x", "x-delayed-message")])
def test_an_exchange_that_cannot_be_is_refused(
    client: RabbitMQClient, name: str, kind: str
) -> None:
    with pytest.raises(ValueError, match="a type out of direct, fanout, topic, headers"):
        client.declare_exchange(exchange=name, exchange_type=kind)


def test_binding_to_an_exchange_that_is_not_there_declares_nothing(client: RabbitMQClient) -> None:
    with pytest.raises(ValueError, match=r"no exchange 'nowhere'; declare it first"):
        client.declare_queue("tasks", exchange="nowhere")

    assert client.store.queues() == {}


def test_what_others_route_to_a_queue_is_consumed(
    client: RabbitMQClient, raw: BlockingChannel, exchange: str
) -> None:
    client.declare_exchange(exchange=exchange, exchange_type="topic")
    client.declare_queue("tasks", exchange=exchange, routing_key="jobs.#")
    consumer = consumer_of(client, "tasks")
    facts = BasicProperties(message_id="mine", timestamp=1_600_000_000, priority=3)

    raw.basic_publish(exchange, "jobs.new", b'{"payload": {"a": 4}, "name": "other"}', facts)
    raw.basic_publish(exchange, "other", b'{"payload": {"a": 5}}')
    raw.basic_publish(exchange, "jobs", JOB.encode())
    assert consumer.consume(2, timeout=10) == 2

    first, second = consumer.seen
    assert (first["id"], first["name"], first["payload"]) == ("mine", "other", {"a": 4})
    assert second["id"]
    assert (second["schema_name"], second["payload"]) == ("tasks", {})
    stats = client.queue_stats("tasks")
    assert (stats.ready, stats.leased, stats.dead) == (0, 0, 0)


def test_a_queue_is_bound_by_its_name_unless_said(
    client: RabbitMQClient, raw: BlockingChannel, exchange: str
) -> None:
    client.declare_exchange(exchange=exchange)
    client.declare_queue("tasks", exchange=exchange)

    raw.basic_publish(exchange, "tasks", JOB.encode())

    eventually(lambda: client.count_queue_messages("tasks") == 1)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"no json", b"[1, 2]", b'{"a": 7}', b"\x00" * 100], ids=repr
)
def test_what_is_no_job_becomes_a_dead_letter_with_its_body(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str, body: bytes
) -> None:
    client.declare_queue("tasks")
    consumer = consumer_of(client, "tasks")
    raw.basic_publish("", f"{namespace}:tasks", body, BasicProperties(message_id="odd"))
    raw.basic_publish("", f"{namespace}:tasks", JOB.encode())

    eventually(lambda: client.count_queue_messages("tasks") == 2)
    consumer.consume_until_empty()

    assert len(consumer.seen) == 1
    (letter,) = client.dead_letters("tasks")
    assert (letter.job_id, letter.reason) == ("odd", "invalid")
    assert letter.body == body.decode("utf-8", "backslashreplace")


ODD: dict[str, BasicProperties] = {
    "no properties": BasicProperties(),
    "a header of another type": BasicProperties(headers={"x-mindtrace": 5}),
    "a header that is no list": BasicProperties(headers={"x-mindtrace": "{}"}, message_id="1"),
    "a header with odd types": BasicProperties(
        headers={"x-mindtrace": '["e", 1, "2", null, 3]'}, message_id="1"
    ),
    "headers of a tracer": BasicProperties(headers={"traceparent": "00-1", "n": {"a": [1]}}),
    "a time in milliseconds": BasicProperties(timestamp=1_700_000_000_000),
    "not persistent": BasicProperties(delivery_mode=1),
    "every property": BasicProperties(
        "text/plain", "gzip", {}, 2, 9, "c", "r", None, "m", 5, "t", None, "app", "cluster"
    ),
}  # fmt: skip


@pytest.mark.parametrize("properties", ODD.values(), ids=ODD)
def test_no_foreign_property_stops_a_consumer(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str, properties: BasicProperties
) -> None:
    client.declare_queue("tasks")
    consumer = consumer_of(client, "tasks")
    raw.basic_publish("", f"{namespace}:tasks", JOB.encode(), properties)

    assert consumer.consume(1, timeout=10) == 1

    assert consumer.seen[0]["payload"] == {}
    assert client.dead_letters("tasks") == []


def test_a_foreign_message_that_is_lost_is_counted(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    client.declare_queue("tasks")
    raw.basic_publish("", f"{namespace}:tasks", JOB.encode(), BasicProperties(message_id="odd"))
    holder = client.store.holder()
    (first,) = holder.receive(["tasks"], limit=1, wait=5).deliveries

    holder.close()

    (second,) = take(client, "tasks")
    assert (second.id, second.body, second.lost) == ("odd", JOB, 1)
    assert second.delivery > first.delivery


def test_what_others_put_to_the_dead_letters_is_seen_and_can_be_requeued(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    client.declare_queue("tasks")
    raw.basic_publish("", f"{namespace}:tasks.dead", JOB.encode(), BasicProperties(message_id="x"))
    eventually(lambda: client.queue_stats("tasks").dead == 1)

    (letter,) = client.dead_letters("tasks")
    assert (letter.job_id, letter.reason, letter.body) == ("x", "rejected", JOB)

    assert client.requeue_dead_letters("tasks", "x") == 1
    assert [each.body for each in take(client, "tasks")] == [JOB]


# queues that somebody removes in the broker itself


def test_publishing_to_a_queue_that_is_gone_is_told(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job())
    raw.queue_delete(f"{namespace}:tasks")

    with pytest.raises(QueueNotFoundError):
        put(client, "tasks", job())

    client.declare_queue("tasks")
    assert put(client, "tasks", job("1")) == ["1"]


def test_a_waiting_consumer_is_told_that_its_queue_was_deleted(
    client: RabbitMQClient, opened: Callable[..., RabbitMQClient]
) -> None:
    client.declare_queue("tasks")
    holder = client.store.holder()
    waiting = Background(lambda: holder.receive(["tasks"], limit=1, wait=None))

    opened().delete_queue("tasks")

    with pytest.raises(QueueNotFoundError):
        waiting.result(within=20)


def test_a_consumer_waits_for_a_queue_that_was_removed_in_the_broker_itself(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str
) -> None:
    client.declare_queue("tasks")
    holder = client.store.holder()
    waiting = Background(lambda: holder.receive(["tasks"], limit=1, wait=None))
    raw.queue_delete(f"{namespace}:tasks")

    with pytest.raises(BackendUnavailableError, match="NOT_FOUND - no queue") as caught:
        waiting.result(within=20)
    assert caught.value.transient

    client.declare_queue("tasks")
    put(client, "tasks", job("1"))
    (delivery,) = holder.receive(["tasks"], limit=1, wait=5).deliveries
    assert holder.settle([ack(delivery)]) == []


def test_the_queues_beside_it_come_back_when_they_are_needed(
    client: RabbitMQClient, raw: BlockingChannel, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job("1"))
    holder = client.store.holder()
    (delivery,) = holder.receive(["tasks"], limit=1, wait=5).deliveries
    raw.queue_delete(f"{namespace}:tasks.dead")

    assert holder.settle([reject(delivery)]) == []

    assert [each.job_id for each in client.dead_letters("tasks")] == ["1"]
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


# a consumer's engine


def test_the_older_constructor_of_the_engine_takes_a_prefetch_count(client: RabbitMQClient) -> None:
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("tasks")
    put(client, "tasks", job("1"), job("2"))
    seen: list[str] = []

    engine = RabbitMQConsumerBackend("tasks", orchestrator, prefetch_count=1)
    assert engine.queues == ["tasks"]
    with pytest.raises(RuntimeError, match="no handler"):
        engine.consume(1)
    engine = RabbitMQConsumerBackend(
        "tasks", orchestrator, lambda found: seen.append(found["id"]), prefetch_count=1
    )

    assert engine.consume(2, timeout=10) == 2
    assert seen == ["1", "2"]


def test_a_consumer_gets_that_engine(client: RabbitMQClient) -> None:
    assert type(consumer_of(client, "tasks").consumer_backend) is RabbitMQConsumerBackend


def test_another_process_connects_by_arguments(client: RabbitMQClient) -> None:
    client.declare_queue("tasks")
    put(client, "tasks", job("1"))
    consumer = Keeping()

    consumer.connect_to_orchestrator_via_backend_args(client.consumer_backend_args, "tasks")

    assert consumer.consume(1, timeout=10) == 1
    assert consumer.seen[0]["id"] == "1"


# what needs a ledger

SCHEMA = JobSchema(name="doubling", input_schema=Pair)


ANY = Job(name="any", payload={})
NEED_A_LEDGER: dict[str, Callable[[RabbitMQClient], object]] = {
    "cancel": lambda client: client.cancel("1"),
    "status": lambda client: client.handle("1").status,
    "result": lambda client: client.handle("1").result(timeout=1),
    "get": lambda client: client.get_job_result("1"),
    "store": lambda client: client.store_job_result("1", 2),
    "dedup": lambda client: client.publish("tasks", ANY, dedup_key="k"),
    "keep": lambda client: client.publish("tasks", ANY, keep_result=True),
}


@pytest.mark.parametrize("call", NEED_A_LEDGER.values(), ids=NEED_A_LEDGER)
def test_without_a_ledger_what_needs_one_is_refused(
    client: RabbitMQClient, call: Callable[[RabbitMQClient], object]
) -> None:
    client.declare_queue("tasks")

    with pytest.raises(UnsupportedByBackendError, match=r"Give the client a ledger"):
        call(client)
    assert client.count_queue_messages("tasks") == 0


@pytest.fixture
def ledgered(opened: Callable[..., RabbitMQClient], tmp_path: Path) -> RabbitMQClient:
    """A client with a ledger on files."""
    return opened(ledger=LocalClient(tmp_path / "ledger"))


def test_with_a_ledger_there_are_results(ledgered: RabbitMQClient) -> None:
    orchestrator = Orchestrator(ledgered)
    orchestrator.register(SCHEMA)
    handle = orchestrator.submit(SCHEMA, Pair(a=4))

    consumer_of(ledgered, "doubling").consume(1, timeout=10)

    assert handle.result(timeout=10) == {"doubled": 8}
    assert ledgered.get_job_result(handle.id) == {"doubled": 8}


def test_results_may_be_kept_by_hand_in_the_ledger(ledgered: RabbitMQClient) -> None:
    ledgered.store_job_result("1", {"a": [1, 2]})

    assert ledgered.get_job_result("1") == {"a": [1, 2]}
    assert ledgered.get_job_result("2") is None


def test_another_process_gets_the_ledger_too(ledgered: RabbitMQClient) -> None:
    ledgered.declare_queue("tasks")
    put(ledgered, "tasks", job("1", keep=60.0))

    with backend_from_args(ledgered.consumer_backend_args) as other:
        holder = other.store.holder()
        (delivery,) = holder.receive(["tasks"], limit=1, wait=10).deliveries
        assert holder.settle([ack(delivery, "5")]) == []
        holder.close()

    assert ledgered.handle("1").result(timeout=5) == 5


def test_a_ledgered_queue_has_the_limits_of_the_broker(ledgered: RabbitMQClient) -> None:
    ledgered.declare_queue("tasks", max_priority=5)

    with pytest.raises(ValueError, match="from 0 to 5"):
        put(ledgered, "tasks", job("1", priority=6))
    assert ledgered.store.record("1") is None
    with pytest.raises(UnsupportedByBackendError, match="stacks"):
        ledgered.declare_queue("other", "stack")


def test_exchanges_work_with_a_ledger(ledgered: RabbitMQClient, namespace: str) -> None:
    ledgered.declare_exchange(exchange=namespace)
    assert ledgered.count_exchanges(exchange=namespace) == 1
    ledgered.delete_exchange(exchange=namespace)
    assert ledgered.count_exchanges(exchange=namespace) == 0


def test_closing_the_client_closes_the_ledger(rabbitmq_url: str, tmp_path: Path) -> None:
    ledger = LocalClient(tmp_path / "ledger")
    ledger.declare_queue("tasks")
    client = RabbitMQClient(url=rabbitmq_url, ledger=ledger)

    client.close()

    with pytest.raises(Exception, match="closed"):
        ledger.count_queue_messages("tasks")
