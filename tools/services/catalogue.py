"""The servers that tests may ask for, and all that differs between them when one is looked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.services.docker import DockerServer, may_be_had
from tools.services.probe import (
    docker_answers,
    rabbitmq_answers,
    redis_answers,
    registry_answers,
)
from tools.services.rabbitmq import RabbitMQServer
from tools.services.redis import RedisServer
from tools.services.registry import RegistryServer
from tools.services.server import OwnServer


@dataclass(frozen=True)
class Service:
    """A kind of server: a test asks for it by the marker."""

    name: str
    marker: str
    variable: str
    """The environment variable that holds an address, for us to read and for tests."""
    usual: tuple[str, ...]
    """Where one listens that runs already: as installed, and as docker-compose.yml has it."""
    answers: Callable[[str], bool]
    binary: Callable[[], str | None]
    own: Callable[[Path], OwnServer]
    package: str
    image: str = ""
    """What to run in Docker; nothing if it is not run there."""
    inside: str = ""
    """The address of one in a container, `{place}` being the way in."""
    may_be_had: Callable[[], bool] = lambda: True
    """Whether its absence is a failure under CI; that of what cannot be had there is none."""

    @property
    def port(self) -> int:
        """The port that one has usually, also within a container."""
        return urlsplit(self.usual[0]).port or 0

    @property
    def own_fixture(self) -> str:
        """The fixture that starts one for a single test."""
        return f"own_{self.marker}"

    @property
    def fixtures(self) -> tuple[str, str]:
        """The fixtures of tests-integration that need one, in whatever way."""
        return f"{self.marker}_url", self.own_fixture

    @property
    def remedy(self) -> str:
        """How to get one."""
        compose = f" (docker compose up -d {self.marker})" if self.image else ""
        return (
            f"Set {self.variable} to an address like {self.usual[0]}, or start one there"
            f"{compose}, or {self.installing}."
        )

    @property
    def installing(self) -> str:
        """How to get the binary."""
        return f"install it (apt-get install {self.package}, brew install {self.marker})"


REDIS = Service(
    name="Redis",
    marker="redis",
    variable="MINDTRACE_TEST_REDIS_URL",
    usual=("redis://127.0.0.1:6379/0",),
    answers=redis_answers,
    binary=RedisServer.binary,
    own=lambda folder: RedisServer(folder, appendfsync="no"),  # nobody kills this one
    package="redis-server",
    image="redis:7",
    inside="redis://{place}/0",
)
RABBITMQ = Service(
    name="RabbitMQ",
    marker="rabbitmq",
    variable="MINDTRACE_TEST_RABBITMQ_URL",
    usual=("amqp://guest:guest@127.0.0.1:5672/", "amqp://user:password@127.0.0.1:5672/"),
    answers=rabbitmq_answers,
    binary=RabbitMQServer.binary,
    own=RabbitMQServer,
    package="rabbitmq-server",
    image="rabbitmq:3-management",
    inside="amqp://guest:guest@{place}/",
)
DOCKER = Service(
    name="Docker",
    marker="docker",
    variable="MINDTRACE_TEST_DOCKER_HOST",
    usual=("unix:///var/run/docker.sock",),
    answers=docker_answers,
    binary=DockerServer.binary,
    own=DockerServer,
    package="docker.io",
    may_be_had=may_be_had,
)
REGISTRY = Service(
    name="Registry",
    marker="registry",
    variable="MINDTRACE_TEST_REGISTRY_URL",
    usual=("http://127.0.0.1:5000",),
    answers=registry_answers,
    binary=RegistryServer.binary,
    own=RegistryServer,
    package="docker-registry",
    may_be_had=may_be_had,  # nobody asks for one without an engine
)
SERVICES = (REDIS, RABBITMQ, DOCKER, REGISTRY)
