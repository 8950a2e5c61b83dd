import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster_places import in_place
from cluster_stores import Stores, opened_stores
from object_store import ObjectStore, object_store


@pytest.fixture(scope="session")
def redis_server_url() -> str:
    """The Redis that tests share; each takes a namespace of its own."""
    return os.environ.get("MINDTRACE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


@pytest.fixture(scope="session")
def rabbitmq_server_url() -> str:
    """The RabbitMQ that tests share; each takes a namespace of its own."""
    return os.environ.get("MINDTRACE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store of this run's own."""
    with object_store(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture(
    scope="module",
    params=[
        "embedded",
        pytest.param("distributed", marks=[pytest.mark.redis, pytest.mark.rabbitmq]),
    ],
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where clusters launched in the module keep their things: a folder, or three servers."""
    yield from in_place(request, tmp_path_factory)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=[pytest.mark.redis, pytest.mark.rabbitmq]),
    ]
)
def open_stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[float], Stores]]:
    """What opens the stores of a manager, where outcomes are kept for so many seconds."""
    with ExitStack() as stack:

        def opened(keep: float) -> Stores:
            return stack.enter_context(opened_stores(request, request.param, tmp_path, keep))

        yield opened


@pytest.fixture
def stores(open_stores: Callable[[float], Stores]) -> Stores:
    return open_stores(1000)
