"""`RedisClient`: jobs on a Redis server, behind Sentinel, or in a Cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic_core import from_json

from mindtrace.jobs.backend import RESULT_TTL
from mindtrace.jobs.client import OrchestratorBackend
from mindtrace.jobs.consumer_backend import ConsumerBackend
from mindtrace.jobs.wire import MAX_PAYLOAD, to_text
from mindtrace.jobs_redis.address import PORT, Address, Tls, address_of_url, secret_of
from mindtrace.jobs_redis.server import TIMEOUT
from mindtrace.jobs_redis.store import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from mindtrace.jobs.executor import Handler
    from mindtrace.jobs.orchestrator import Orchestrator


class RedisConsumerBackend(ConsumerBackend):
    """The engine on a Redis store: it blocks until it is rung, and never polls.

    `poll_timeout` is accepted for older code and bounds nothing.
    """

    def __init__(
        self,
        queue_name: str,
        owner: Orchestrator,
        handler: Callable[[Any], Any] | Handler | None = None,
        *,
        poll_timeout: float | None = 5,
        prefetch_count: int | None = None,
    ) -> None:
        super().__init__(
            queue_name, owner, handler, prefetch_count=prefetch_count, poll_timeout=poll_timeout
        )


class RedisClient(OrchestratorBackend):
    """Queues in one namespace of a Redis 7.0 or newer.

    Constructing opens no connection; the first call does. Publishing returns once the server
    answered, so a job is as durable as the server's append-only file, and a failover to a replica
    may lose what was answered in its last moments.

    Args:
        host: the server's name.
        port: its port.
        db: the number of the database there.
        username: for a server with users; left out, its default user.
        password: shown in no log, repr or error.
        ssl: whether to connect with TLS, checking the server's certificate.
        url: all of the above as `from_url` takes it; given names still win over it.
        namespace: keeps the jobs of several programs apart in one database.
        max_payload: bytes that a job's text may have at most.
        timeout: seconds in which the server must answer.
        ssl_ca_certs: a file with the authorities to trust, instead of the system's.
        ssl_certfile: a file with this client's own certificate.
        ssl_keyfile: a file with its key.
        ssl_check_hostname: False trusts a certificate for another name than the server's.
    """

    store: RedisStore
    consumer_backend_class: ClassVar[type[ConsumerBackend]] = RedisConsumerBackend

    def __init__(  # noqa: PLR0913 - the user's way to say where the server is
        self,
        host: str = "localhost",
        port: int = PORT,
        db: int = 0,
        *,
        username: str | None = None,
        password: str | SecretStr | None = None,
        ssl: bool = False,
        url: str | None = None,
        namespace: str | None = None,
        max_payload: int = MAX_PAYLOAD,
        timeout: float = TIMEOUT,
        ssl_ca_certs: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        ssl_check_hostname: bool = True,
    ) -> None:
        address = Address(((host, port),), db=db) if url is None else address_of_url(url)
        tls = Tls(ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_check_hostname)
        if ssl or tls != Tls():
            address = replace(address, tls=tls)
        address = replace(
            address,
            username=username or address.username,
            password=secret_of(password) or address.password,
            namespace=namespace or address.namespace,
        )
        super().__init__(RedisStore(address, timeout), max_payload=max_payload)
        self._timeout = timeout

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the client of a URL.

        `redis://[user:password@]host[:port][/db]`, `rediss://...` with TLS;
        `redis://host:7000?cluster=true` for a Cluster, of which any nodes are named;
        `redis+sentinel://[user:password@]host:26379,other:26379/service[/db]` for the primary that
        Sentinels name. `?namespace=` with each.
        """
        return cls(url=url)

    @property
    def namespace(self) -> str:
        """What keeps these jobs apart from others in the same database."""
        return self.store.place.namespace

    @property
    def consumer_backend_args(self) -> dict[str, Any]:
        """What another process needs to connect to the same place; the password is in it."""
        kwargs = {
            **self.store.place.to_kwargs(),
            "max_payload": self.max_payload,
            "timeout": self._timeout,
        }
        return {"backend": "redis", "kwargs": kwargs}

    def store_job_result(self, job_id: str, result: Any) -> None:
        """Keep a result by hand for 24 h, for older code; `submit` keeps what a job returns.

        Raises:
            JobValidationError: the result has no JSON form.
        """
        self.store.store_result(job_id, to_text(result, job_id, "result"), RESULT_TTL)

    def get_job_result(self, job_id: str) -> Any:
        """Return what `store_job_result` kept, else what a job kept, as plain values; else None."""
        text = self.store.stored_result(job_id)
        if text is None:
            record = self.store.record(job_id)
            text = record.result if record else None
        return None if text is None else from_json(text)

    def __repr__(self) -> str:
        """Say where the jobs are, without credentials."""
        return f"{type(self).__name__}({str(self.store.place)!r}, namespace={self.namespace!r})"
