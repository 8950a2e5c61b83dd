"""The broker that these tests talk to, and a namespace of their own in it."""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pytest

from mindtrace.jobs import RabbitMQClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The broker's address, from the environment."""
    from rabbitmq_harness import rabbitmq_address  # noqa: PLC0415 - found by the line above

    return rabbitmq_address()


@pytest.fixture
def namespace(rabbitmq_url: str) -> Iterator[str]:
    """A namespace that is removed afterwards."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    yield name
    with RabbitMQClient(url=rabbitmq_url, namespace=name) as client:
        client.delete_namespace()


@pytest.fixture
def url(rabbitmq_url: str, namespace: str) -> str:
    """The URL of that namespace."""
    return f"{rabbitmq_url}{'&' if '?' in rabbitmq_url else '?'}namespace={namespace}"


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., RabbitMQClient]]:
    """Opens clients of that namespace; they are closed afterwards."""
    with ExitStack() as clients:

        def opened(**options: Any) -> RabbitMQClient:
            return clients.enter_context(RabbitMQClient(url=url, **options))

        yield opened


@pytest.fixture
def client(opened: Callable[..., RabbitMQClient]) -> RabbitMQClient:
    """A client of that namespace."""
    return opened()


@pytest.fixture
def raw(rabbitmq_url: str) -> Iterator[BlockingChannel]:
    """A channel of pika's own, as anybody else has one."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        yield connection.channel()
