"""The surface of the package is pinned: a change of it is a change of this file."""

from __future__ import annotations

import inspect

import pytest
from rabbitmq_support import run_python

import mindtrace.jobs
import mindtrace.jobs_rabbitmq
from mindtrace.jobs import OrchestratorBackend, RabbitMQClient, RabbitMQConsumerBackend

PUBLIC = ["LedgerStore", "RabbitMQClient", "RabbitMQConsumerBackend", "RabbitMQStore"]

OWN = {
    "count_exchanges": "(self, *, exchange: 'str') -> 'int'",
    "declare_exchange": (
        "(self, *, exchange: 'str', exchange_type: 'str' = 'direct', durable: 'bool' = True, "
        "auto_delete: 'bool' = False) -> 'dict[str, str]'"
    ),
    "declare_queue": (
        "(self, queue_name: 'str', queue_type: 'QueueType | str | None' = None, *, "
        "max_priority: 'int | None' = None, **options: 'Any') -> 'dict[str, str]'"
    ),
    "delete_exchange": "(self, *, exchange: 'str') -> 'dict[str, str]'",
    "delete_namespace": "(self) -> 'None'",
    "from_url": "(url: 'str') -> 'Self'",
    "get_job_result": "(self, job_id: 'str') -> 'Any'",
    "publish_entries": (
        "(self, target: 'Target', jobs: 'Sequence[Job | BaseModel]', options: 'PublishOptions') "
        "-> 'list[str]'"
    ),
    "store_job_result": "(self, job_id: 'str', result: 'Any') -> 'None'",
}


def test_these_names_are_public() -> None:
    assert mindtrace.jobs_rabbitmq.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_can_be_imported_and_has_a_docstring(name: str) -> None:
    assert getattr(mindtrace.jobs_rabbitmq, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'RabbitMQ'"):
        _ = mindtrace.jobs_rabbitmq.RabbitMQ


def test_the_names_can_be_seen() -> None:
    assert set(PUBLIC) <= set(dir(mindtrace.jobs_rabbitmq))


def test_the_base_package_gives_the_same_classes() -> None:
    assert mindtrace.jobs.RabbitMQClient is mindtrace.jobs_rabbitmq.RabbitMQClient
    assert mindtrace.jobs.RabbitMQConsumerBackend is RabbitMQConsumerBackend
    assert RabbitMQClient.consumer_backend_class is RabbitMQConsumerBackend


def test_the_methods_of_the_client_are_these() -> None:
    own = {
        name: str(inspect.signature(getattr(RabbitMQClient, name)))
        for name, value in vars(RabbitMQClient).items()
        if not name.startswith("_") and callable(getattr(value, "__func__", value))
    }
    own.pop("consumer_backend_class")

    assert own == OWN


def test_the_constructor_takes_these() -> None:
    assert list(inspect.signature(RabbitMQClient).parameters) == [
        *("host", "port", "username", "password"),
        *("vhost", "ssl", "heartbeat", "ledger", "url", "namespace", "max_payload"),
    ]


@pytest.mark.parametrize("name", OWN)
def test_each_method_has_a_docstring(name: str) -> None:
    assert getattr(RabbitMQClient, name).__doc__


def test_a_queue_is_declared_as_on_every_backend() -> None:
    base = inspect.signature(OrchestratorBackend.declare_queue)

    assert str(base) == OWN["declare_queue"]


LOADED = """
import sys
import mindtrace.jobs, mindtrace.jobs_rabbitmq
print([name for name in ("pika", "redis") if name in sys.modules])
mindtrace.jobs.RabbitMQClient
print([name for name in ("pika", "redis") if name in sys.modules])
"""


@pytest.mark.process
def test_importing_loads_no_pika_before_it_is_needed() -> None:
    said, complaints = run_python(LOADED)

    assert said.splitlines() == ["[]", "['pika']"]
    assert complaints == ""


LOGGING = """
import logging
before = list(logging.root.handlers), logging.root.level
from mindtrace.jobs import RabbitMQClient
RabbitMQClient()
print((list(logging.root.handlers), logging.root.level) == before)
logging.getLogger("pika").setLevel(logging.INFO)
"""


@pytest.mark.process
def test_logging_is_left_to_the_program() -> None:
    assert run_python(LOGGING)[0] == "True"
