"""Where the clusters that are measured keep their things; it is gone when the block ends."""

import json
import os
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from mindtrace.cluster.settings import cluster_settings, open_backend, places_of
from mindtrace.jobs import OrchestratorBackend
from mindtrace.jobs_rabbitmq import RabbitMQClient
from tools.benchmarks.children import Child
from tools.benchmarks.settings import Settings
from tools.benchmarks.stages.broker import within
from tools.benchmarks.stages.redis import unlink
from tools.commands import ROOT
from tools.services.catalogue import RABBITMQ, REDIS, Service
from tools.services.ladder import Ladder
from tools.services.probe import redis_client

CLUSTER = "MINDTRACE_CLUSTER__"
OBJECT_STORE = ROOT / "packages" / "cluster" / "tests" / "object_store.py"


class Place(ABC):
    """One way to set a cluster up.

    Attributes:
        takeover: seconds from the death of a worker to the second run of its job, at most.
    """

    takeover: ClassVar[float] = 3.0

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """The stack ends what it starts."""
        self.settings = settings
        self.stack = stack

    def facts(self) -> dict[str, str | int | float]:
        """Return what the numbers depend on."""
        return {}

    @contextmanager
    def opened(self) -> Generator[Path]:
        """Let clusters that are launched now keep their things in a new place; lend a folder."""
        with (
            self.settings.new_folder() as folder,
            self.variables() as variables,
            _environment({"MINDTRACE_DIR_PATHS__ROOT": str(folder), **variables}),
        ):
            yield folder

    @contextmanager
    @abstractmethod
    def variables(self) -> Generator[dict[str, str]]:
        """Lend the settings of a new cluster."""
        yield {}

    def found(self, service: Service) -> tuple[str, str]:
        """Find a server, or start one; return its address, and where that came from.

        Raises:
            UnavailableError: there is none.
        """
        found = Ladder(_installing, may_install=False).find(service)
        self.stack.callback(found.close)
        return found.url, found.how


class Embedded(Place):
    """Everything in files."""

    @contextmanager
    def variables(self) -> Generator[dict[str, str]]:
        """Lend no settings."""
        yield {}


class OnRedis(Place):
    """Jobs and state in Redis, worker types in a folder."""

    takeover = 17.0

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """Find the server."""
        super().__init__(settings, stack)
        self.redis, self.redis_how = self.found(REDIS)

    def facts(self) -> dict[str, str | int | float]:
        """Return where the server is."""
        return {"redis": self.redis_how}

    @contextmanager
    def variables(self) -> Generator[dict[str, str]]:
        """Lend a namespace of the server."""
        name = _new_name()
        url = within(self.redis, name)
        with redis_client(self.redis) as client:
            try:
                yield {f"{CLUSTER}STATE_URL": url, f"{CLUSTER}QUEUE_URL": url}
            finally:
                unlink(client, name)


class Distributed(OnRedis):
    """Jobs on RabbitMQ, state and ledger in Redis, worker types in an object store."""

    takeover = 3.0

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """Find the servers."""
        super().__init__(settings, stack)
        self.rabbitmq, self.rabbitmq_how = self.found(RABBITMQ)
        child = stack.enter_context(Child([sys.executable, str(OBJECT_STORE)]))
        self.object_store: dict[str, str] = json.loads(child.hear())

    def facts(self) -> dict[str, str | int | float]:
        """Return where the servers are."""
        return {
            **super().facts(),
            "rabbitmq": self.rabbitmq_how,
            "object store": f"moto {version('moto')}",
        }

    @contextmanager
    def variables(self) -> Generator[dict[str, str]]:
        """Lend a namespace of each server, and a bucket."""
        name = _new_name()
        queue_url = within(self.rabbitmq, name)
        with redis_client(self.redis) as client:
            try:
                yield {
                    f"{CLUSTER}STATE_URL": within(self.redis, name),
                    f"{CLUSTER}QUEUE_URL": queue_url,
                    f"{CLUSTER}MINIO_ENDPOINT": self.object_store["endpoint"],
                    f"{CLUSTER}MINIO_ACCESS_KEY": self.object_store["access_key"],
                    f"{CLUSTER}MINIO_SECRET_KEY": self.object_store["secret_key"],
                    f"{CLUSTER}MINIO_BUCKET": name,
                }
            finally:
                with RabbitMQClient(url=queue_url) as broker:
                    broker.store.delete_namespace()
                unlink(client, name)


PLACES: dict[str, type[Place]] = {
    "local": Embedded,
    "redis": OnRedis,
    "distributed": Distributed,
}


def jobs_alone(folder: Path) -> OrchestratorBackend:
    """Return a client of the queue that a cluster launched now uses; of a file of its own."""
    backend: OrchestratorBackend = open_backend(places_of(cluster_settings(), folder / "alone"))
    return backend


@contextmanager
def _environment(values: dict[str, str]) -> Generator[None]:
    """Let the settings of clusters be these, and no others."""
    before = dict(os.environ)
    for name in [each for each in os.environ if each.startswith(CLUSTER)]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _new_name() -> str:
    return f"mindtracebench{secrets.token_hex(5)}"


def _installing(_: str) -> None:
    """Be told what is installed: nothing."""
