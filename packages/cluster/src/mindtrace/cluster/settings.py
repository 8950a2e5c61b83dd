"""The settings of a cluster: the variables `MINDTRACE_CLUSTER__...`.

With none of them everything is embedded: jobs and state in SQLite files, worker types in a folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, AliasChoices, Field, SecretStr

from mindtrace.core.errors import InvalidSettingError, MindtraceError
from mindtrace.core.section import Section
from mindtrace.core.settings import Config, get_config
from mindtrace.services.settings import Token, Words

T = TypeVar("T")
RESULT_TTL = 7 * 24 * 3600.0


def _range_of_ports(text: str) -> str:
    ports_in(text)
    return text


class ClusterSettings(Section):
    """Where a cluster keeps its things, and who may use it beside those of `ServicesSettings`.

    Attributes:
        submit_token: What callers of a manager may show instead of the API token; it opens
            submitting and watching jobs, and nothing else.
        node_token: What managers, nodes and workers show to each other instead of the API token.
        folder: Of an embedded cluster; one for each manager's host and port unless set.
        queue_url: Where the jobs are: `sqlite:///...`, `redis://...` or `amqp://...`.
        state_url: Where the rest is: `sqlite:///...` or `redis://...`.
        registry_url: Where the worker types are: `file:///...` or `s3://...`.
        node_registry_url: What nodes are told of the registry in its place, with a key of their own
            that only reads.
        rabbitmq_host: Of the broker, where the state is in Redis and no queue URL is set.
        rabbitmq_port: Likewise.
        rabbitmq_username: Likewise.
        rabbitmq_password: Likewise.
        minio_endpoint: `host:port` of an object store for the worker types.
        minio_host: The host alone, where no endpoint is set.
        minio_port: The port that goes with it.
        minio_access_key: Of the object store.
        minio_secret_key: Likewise.
        minio_bucket: Likewise.
        minio_secure: Whether it speaks https.
        worker_ports_range: The ports that nodes give to workers: `first-last`.
        result_ttl: Seconds that the outcome of a job can be asked for.
        git_folder: Where nodes keep clones, checkouts and environments of workers from Git; `git`
            below the folder of Mindtrace unless set.
        git_transports: How repositories may be reached, of `https`, `ssh`, `file`, `http`, `git`.
        git_token: What opens private repositories, by https alone; `GIT_FINE_GRAINED_TOKEN` says it
            as well. It is in no command line, no log and no checkout.
        git_token_for: Who is shown it: hosts, or hosts with an owner (`github.com/mindtrace`).
        answer_within: Seconds within which `submit_job` answers with the outcome of a job that goes
            to an endpoint; later ones are recorded all the same.
    """

    submit_token: Token = None
    node_token: Token = None
    folder: Path | None = None
    queue_url: SecretStr | None = None
    state_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("state_url", "default_redis_url")
    )
    registry_url: SecretStr | None = None
    node_registry_url: SecretStr | None = None
    rabbitmq_host: str = "localhost"
    rabbitmq_port: int = 5672
    rabbitmq_username: str = "user"
    rabbitmq_password: SecretStr = SecretStr("password")
    minio_endpoint: str | None = None
    minio_host: str | None = None
    minio_port: int = 9000
    minio_access_key: str = "minioadmin"
    minio_secret_key: SecretStr = SecretStr("minioadmin")
    minio_bucket: str = "minio-registry"
    minio_secure: bool = False
    worker_ports_range: Annotated[str, AfterValidator(_range_of_ports)] = "8092-8111"
    result_ttl: float = Field(default=RESULT_TTL, gt=0)
    git_folder: Path | None = None
    git_transports: Words = Field(default_factory=lambda: ["https", "ssh", "file"])
    git_token: SecretStr | None = None
    git_token_for: Words = Field(default_factory=lambda: ["github.com"])
    answer_within: float = Field(default=30.0, ge=0, le=50)


def cluster_settings(config: Config | None = None) -> ClusterSettings:
    """Return the settings of clusters; the environment is read if no config is given.

    Raises:
        InvalidSettingError: A value does not fit.
    """
    return (config or get_config()).section("cluster", ClusterSettings)


@dataclass(frozen=True, slots=True, repr=False)
class Places:
    """Where a manager keeps its things: URLs, which may hold passwords.

    Attributes:
        queue: Where the jobs are.
        ledger: Where their records are, if the queue cannot keep them.
        state: Where the rest is.
        registry: Where the worker types are.
    """

    queue: str
    ledger: str | None
    state: str
    registry: str

    @property
    def jobs_in_folder(self) -> bool:
        """Whether the jobs, or their records, are in files."""
        return _is_local(self.queue) or (self.ledger is not None and _is_local(self.ledger))

    @property
    def in_folder(self) -> bool:
        """Whether anything that nodes use is in files."""
        return self.jobs_in_folder or _is_local(self.registry)


def _is_local(url: str) -> bool:
    return url.startswith(("sqlite:", "file:"))


def places_of(settings: ClusterSettings, folder: Path) -> Places:
    """Return where a manager whose folder this is keeps its things.

    Redis for the state, and nothing said of the queue, means RabbitMQ for the queue.
    """
    state = _text(settings.state_url) or f"sqlite:///{folder}"
    in_redis = state.startswith(("redis://", "rediss://"))
    queue = _text(settings.queue_url)
    if queue is None:
        queue = _rabbitmq(settings) if in_redis else f"sqlite:///{folder / 'jobs'}"
    ledger = None
    if queue.startswith(("amqp://", "amqps://")):
        ledger = state if in_redis else f"sqlite:///{folder / 'jobs'}"
    registry = _text(settings.registry_url) or _s3(settings) or f"file://{folder / 'workers'}"
    return Places(queue, ledger, state, registry)


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _rabbitmq(settings: ClusterSettings) -> str:
    password = quote(settings.rabbitmq_password.get_secret_value(), safe="")
    user = quote(settings.rabbitmq_username, safe="")
    return f"amqp://{user}:{password}@{settings.rabbitmq_host}:{settings.rabbitmq_port}"


def _s3(settings: ClusterSettings) -> str | None:
    endpoint = settings.minio_endpoint
    if endpoint is None:
        if settings.minio_host is None:
            return None
        endpoint = f"{settings.minio_host}:{settings.minio_port}"
    scheme = "s3s" if settings.minio_secure else "s3"
    key = quote(settings.minio_access_key, safe="")
    secret = quote(settings.minio_secret_key.get_secret_value(), safe="")
    return f"{scheme}://{key}:{secret}@{endpoint}/{settings.minio_bucket}"


def ports_in(text: str) -> list[int]:
    """Return the ports of a range, written `first-last` or `first,last`.

    Raises:
        ValueError: it is no range of ports.
    """
    first, separator, last = text.replace(",", "-").partition("-")
    try:
        found = list(range(int(first), int(last if separator else first) + 1))
    except ValueError:
        found = []
    if not found or found[0] < 1 or found[-1] > 65535:  # noqa: PLR2004 - the last port there is
        message = f"{text!r} is no range of ports: expected two numbers such as 8092-8111"
        raise ValueError(message)
    return found


# Any: what `from_url` and `ledger=` take
def open_backend(places: Places) -> Any:
    """Return the client for the jobs."""
    from mindtrace.jobs import backend_from_url  # noqa: PLC0415 - as needed

    if places.ledger is None:
        return backend_from_url(places.queue)
    from mindtrace.jobs import RabbitMQClient  # noqa: PLC0415 - of a package that may be missing

    return RabbitMQClient(url=places.queue, ledger=backend_from_url(places.ledger))


def opened(setting: str, work: Callable[[], T]) -> T:
    """Return what opens a place that a setting names.

    Args:
        setting: Its name, `STATE_URL` for `MINDTRACE_CLUSTER__STATE_URL`.
        work: Opens it.

    Raises:
        InvalidSettingError: there is no such place, or the package that it takes is not installed.
    """
    try:
        return work()
    except (ValueError, ImportError) as error:
        if isinstance(error, MindtraceError):
            raise
        raise InvalidSettingError(f"MINDTRACE_CLUSTER__{setting}", str(error)) from error
