"""Fixtures of the fault tests. All of them start real processes, and end each one they started."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

HERE = Path(__file__).parent
# The helper modules of this folder are imported by name, here and in the processes it starts.
sys.path.insert(0, str(HERE))

from crew import Crew, Nursery  # noqa: E402 - needs the path above
from mounts import SmallDisk  # noqa: E402 - likewise
from places import CONSUMER_TIMEOUT, Place  # noqa: E402 - likewise

from tools.services.rabbitmq import RabbitMQServer  # noqa: E402 - likewise

if TYPE_CHECKING:
    from tools.services.redis import RedisServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    patient = bool(os.environ.get("MINDTRACE_STRESS"))
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.process)
        item.add_marker(pytest.mark.integration)
        if item.get_closest_marker("stress") and not patient:
            item.add_marker(pytest.mark.skip(reason="not run: takes minutes, asks for --stress"))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process that the workers of all tests are forked from."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """A RabbitMQ for all tests that may kill one, since it starts slowly; each has a namespace."""
    with RabbitMQServer(tmp_path_factory.mktemp("node") / "data") as node:
        yield node


@pytest.fixture
def crew(request: pytest.FixtureRequest, nursery: Nursery, tmp_path: Path) -> Iterator[Crew]:
    """Starts workers on jobs of their own; whoever still lives is killed when the test ends.

    On Local unless the test is parametrised with some of `places.SERVERS`.
    """
    folder = tmp_path / "jobs"
    match getattr(request, "param", "local"):
        case "local":
            crew = Crew(nursery, folder)
        case "redis" | "locked" as kind:
            start: Callable[..., RedisServer] = request.getfixturevalue("own_redis")
            server = start(password="sesame" if kind == "locked" else "")
            place = Place("redis", {"url": server.url, "timeout": 2.0})
            crew = Crew(nursery, folder, place=place, server=server)
        case "strict":
            launch: Callable[..., RabbitMQServer] = request.getfixturevalue("own_rabbitmq")
            broker = launch(
                settings=[f"consumer_timeout = {int(1000 * CONSUMER_TIMEOUT)}"],
                advanced="[{rabbit,[{channel_tick_interval,1000}]}].",
            )
            crew = Crew(
                nursery, folder, place=Place("rabbitmq", {"url": broker.url}), server=broker
            )
        case kind:
            node: RabbitMQServer = request.getfixturevalue("node")
            if not node.answers():  # a test that failed has left it so
                node.kill()
                node.start()
            url = f"{node.url}?namespace={uuid4().hex}&heartbeat=60"
            ledger = str(tmp_path / "ledger") if kind == "ledger" else ""
            crew = Crew(nursery, folder, place=Place("rabbitmq", {"url": url}, ledger), server=node)
    with crew:
        yield crew


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of a few megabytes, which can be filled and freed."""
    with SmallDisk(tmp_path / "disk") as disk:
        yield disk
