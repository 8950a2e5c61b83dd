"""Marks everything in this folder, so that a kind of test can be chosen by marker alone.

It also gives tests their servers: a name of their own on the common one (`redis_url`,
`rabbitmq_url`), or a server of their own that they may kill (`own_redis`, `own_rabbitmq`).
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pika
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tools.services.catalogue import (  # noqa: E402 - needs the path above
    RABBITMQ,
    REDIS,
    SERVICES,
    Service,
)
from tools.services.probe import redis_client  # noqa: E402 - likewise
from tools.services.rabbitmq import RabbitMQServer  # noqa: E402 - likewise
from tools.services.redis import RedisServer  # noqa: E402 - likewise
from tools.services.server import OwnServer  # noqa: E402 - likewise

SERVERS = {fixture: each.marker for each in SERVICES for fixture in each.fixtures}
S = TypeVar("S", bound=OwnServer)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.integration)
            for name in SERVERS.keys() & set(getattr(item, "fixturenames", ())):
                item.add_marker(SERVERS[name])  # so that nobody can forget to say it


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The common Redis, with a namespace that only this test uses."""
    common, namespace = address(REDIS), unique()
    yield within(common, namespace)
    with redis_client(common) as client:
        for key in client.scan_iter(match=f"{{mt1:{namespace}}}*", count=1000):
            client.delete(key)


@pytest.fixture
def rabbitmq_url() -> Iterator[str]:
    """The common RabbitMQ, with a namespace that only this test uses."""
    common, namespace = address(RABBITMQ), unique()
    yield within(common, namespace)
    jobs: Any = import_module("mindtrace.jobs")  # imported by those only who need it
    names: Any = import_module("mindtrace.jobs_rabbitmq.names")
    with jobs.RabbitMQClient.from_url(within(common, namespace)) as client:
        for queue in client.store.queues():
            client.delete_queue(queue)
    with pika.BlockingConnection(pika.URLParameters(common)) as connection:
        connection.channel().queue_delete(names.directory(namespace))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis for this test alone; arguments are those of `RedisServer`."""
    yield from starter(RedisServer, tmp_path)


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[Callable[..., RabbitMQServer]]:
    """Starts a RabbitMQ for this test alone; arguments are those of `RabbitMQServer`."""
    yield from starter(RabbitMQServer, tmp_path)


def starter(kind: type[S], folder: Path) -> Iterator[Callable[..., S]]:
    """Give a function that starts servers; those that still run in the end are killed."""
    with ExitStack() as running:

        def start(**options: Any) -> S:
            return running.enter_context(kind(folder / f"{kind.__name__}-{unique()}", **options))

        yield start


def address(service: Service) -> str:
    """The server that the test runner found, else the usual place of development."""
    return os.environ.get(service.variable, service.usual[0])


def within(url: str, namespace: str) -> str:
    """Add a namespace to an address."""
    return f"{url}{'&' if '?' in url else '?'}namespace={namespace}"


def unique() -> str:
    """A name that nobody else has."""
    return f"test-{uuid4().hex[:12]}"
