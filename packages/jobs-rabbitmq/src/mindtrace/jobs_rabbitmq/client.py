"""`RabbitMQClient`: jobs on a RabbitMQ broker, with a ledger beside it or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from mindtrace.jobs.backend import QueueSpec
from mindtrace.jobs.client import OrchestratorBackend, checked_name, checked_options
from mindtrace.jobs.consumer_backend import ConsumerBackend
from mindtrace.jobs.errors import UnsupportedByBackendError
from mindtrace.jobs.wire import MAX_PAYLOAD
from mindtrace.jobs_rabbitmq import exchanges
from mindtrace.jobs_rabbitmq.address import Address, read_url, secret_of
from mindtrace.jobs_rabbitmq.arguments import kind_of, ledger_of, refuse_losing
from mindtrace.jobs_rabbitmq.holder import LEDGER
from mindtrace.jobs_rabbitmq.ledger import LedgerStore
from mindtrace.jobs_rabbitmq.store import RabbitMQStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ssl import SSLContext

    from pydantic import BaseModel, SecretStr

    from mindtrace.jobs.backend import QueueType
    from mindtrace.jobs.job import Job
    from mindtrace.jobs.publishing import PublishOptions, Target


class RabbitMQConsumerBackend(ConsumerBackend):
    """The engine on a broker, which pushes jobs rather than being asked for them.

    `prefetch_count=1` takes one job at a time; left out, the number follows the measured run time.
    """


class RabbitMQClient(OrchestratorBackend):
    """Queues in one virtual host of a RabbitMQ 3.10 or newer.

    Constructing opens no connection; the first call does. Publishing returns once the broker has
    confirmed a persistent message on a durable queue: what it has confirmed survives its restart.
    A broker carries messages and remembers nothing of a job. Without a ledger there are therefore
    no unique ids, dedup keys, results, progress, status or cancelling (these raise
    `UnsupportedByBackendError`), a publish whose answer was lost and is repeated may add the job
    twice, and `queue_stats` knows only this client's own deliveries as leased.

    Args:
        host: the broker's name.
        port: its port; 5672, or 5671 with TLS, unless said.
        username: `user` unless said.
        password: `password` unless said; shown in no log, repr or error.
        vhost: the virtual host; `/` unless said.
        ssl: True checks the broker's certificate against the system's authorities; an
            `ssl.SSLContext` says it in detail.
        heartbeat: seconds without a sign of life after which each side gives the connection up, and
            with it the jobs held; the broker's own (60) unless said. Raise it for handlers that
            hold the interpreter's lock in C code for longer.
        ledger: what remembers the jobs: a client of another backend (Redis or Local), its URL, or
            its `consumer_backend_args`. It serves this broker alone, every client of these queues
            has the same one, and it is closed with this client.
        url: all of the above as `from_url` takes it; given names still win over it.
        namespace: put before the names of the queues, to keep several programs apart.
        max_payload: bytes that a job's text may have at most.

    Raises:
        ValueError: the arguments or the URL lead nowhere, or the ledger knows no job by its id.
    """

    store: RabbitMQStore | LedgerStore
    consumer_backend_class: ClassVar[type[ConsumerBackend]] = RabbitMQConsumerBackend

    def __init__(  # noqa: PLR0913 - the user's way to say where the broker is
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | SecretStr | None = None,
        *,
        vhost: str | None = None,
        ssl: bool | SSLContext = False,
        heartbeat: int | None = None,
        ledger: OrchestratorBackend | str | dict[str, Any] | None = None,
        url: str | None = None,
        namespace: str | None = None,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        said, ledger_url = ({}, None) if url is None else read_url(url)
        given = {
            "host": host,
            "port": port,
            "username": username,
            "password": secret_of(password),
            "vhost": vhost,
            "secure": True if ssl else None,
            "context": None if isinstance(ssl, bool) else ssl,
            "heartbeat": heartbeat,
            "namespace": namespace,
        }
        said |= {name: value for name, value in given.items() if value is not None}
        self._broker = RabbitMQStore(Address.of(said))
        self.ledger = ledger_of(ledger_url if ledger is None else ledger)
        store = LedgerStore(self._broker, self.ledger.store) if self.ledger else self._broker
        super().__init__(store, max_payload=max_payload)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the client of a URL.

        `amqp://[user:password@]host[:port][/vhost]`, `amqps://...` with TLS. Behind a question
        mark: `namespace`, `heartbeat`, `ledger` (the URL of another backend, percent-encoded), and
        for TLS `cafile`, `certfile`, `keyfile`, `verify=no`.
        """
        return cls(url=url)

    @property
    def namespace(self) -> str:
        """What stands before the names of the queues."""
        return self._broker.location.namespace

    @property
    def consumer_backend_args(self) -> dict[str, Any]:
        """What another process needs to connect to the same place; the passwords are in it."""
        location = self._broker.location
        kwargs: dict[str, Any] = {
            "url": location.url,
            "username": location.username,
            "password": location.password.get_secret_value(),
            "max_payload": self.max_payload,
        }
        if self.ledger is not None:
            kwargs["ledger"] = self.ledger.consumer_backend_args
        return {"backend": "rabbitmq", "kwargs": kwargs}

    # queues

    def declare_queue(
        self,
        queue_name: str,
        queue_type: QueueType | str | None = None,
        *,
        max_priority: int | None = None,
        **options: Any,
    ) -> dict[str, str]:
        """Make a queue exist, and say how it went as `{"status": ..., "message": ...}`.

        Args:
            queue_name: any text that AMQP takes together with the namespace (233 bytes).
            queue_type: fifo or priority; "quorum" is a fifo queue that the nodes of a cluster
                replicate, "classic" one that lives on one node. None takes the existing type, else
                a classic fifo queue.
            max_priority: makes it a priority queue with priorities from 0 to this, 255 at most.
                The number cannot be changed later.
            **options: the fields of `QueueOptions`; left out, those of an existing queue stay.
                `exchange` and `routing_key` (the queue's name unless said) also bind the queue to
                an exchange of your own. The older `durable=True`, `exclusive=False`,
                `auto_delete=False` and `force` are accepted; no queue is ever thrown away to be
                made anew.

        Raises:
            QueueTypeMismatchError: it exists with another type.
            UnsupportedByBackendError: a stack, a replicated priority queue, or a queue that would
                lose jobs.
            ValueError: the exchange does not exist.
        """
        exchange, routing_key = options.pop("exchange", None), options.pop("routing_key", None)
        refuse_losing(options)
        chosen, quorum = kind_of(queue_type, max_priority)
        spec = QueueSpec(checked_name(queue_name), chosen, checked_options(options))
        link = self._broker.publishing
        if exchange:
            exchanges.require(link, exchange)
        created = self.store.declare(spec, max_priority=max_priority, quorum=quorum)
        if exchange:
            main = self._broker.sender.names(queue_name).main
            exchanges.bind(link, main, exchange, routing_key or queue_name)
        return _success(f"Queue {queue_name!r} {'declared' if created else 'already exists'}.")

    def delete_namespace(self) -> None:
        """Remove every queue of the namespace with all that is in it, and the list of them."""
        self.store.delete_namespace()

    # exchanges, for those who route themselves

    def declare_exchange(
        self,
        *,
        exchange: str,
        exchange_type: str = "direct",
        durable: bool = True,
        auto_delete: bool = False,
    ) -> dict[str, str]:
        """Make an exchange exist; bind queues to it with `declare_queue(..., exchange=)`.

        What is routed to a queue is taken as a job if its body is one, else it becomes a dead
        letter. Its name is the broker's own: no namespace is put before it.

        Raises:
            ValueError: it exists with other properties, or there is no such type.
        """
        made = exchanges.declare(
            self._broker.publishing,
            exchange,
            exchange_type,
            durable=durable,
            auto_delete=auto_delete,
        )
        return _success(f"Exchange {exchange!r} {'declared' if made else 'already exists'}.")

    def delete_exchange(self, *, exchange: str) -> dict[str, str]:
        """Delete an exchange with its bindings; one that does not exist is a success too."""
        exchanges.delete(self._broker.publishing, exchange)
        return _success(f"Exchange {exchange!r} deleted.")

    def count_exchanges(self, *, exchange: str) -> int:
        """Return 1 if there is an exchange of that name, else 0."""
        return int(exchanges.exists(self._broker.publishing, exchange))

    # jobs

    def publish_entries(
        self, target: Target, jobs: Sequence[Job | BaseModel], options: PublishOptions
    ) -> list[str]:
        """Check and serialise all jobs, then add them; see `RabbitMQStore.publish`."""
        if self.ledger is None and options.keep(target) is not None:
            raise UnsupportedByBackendError("keeping a job's result", "rabbitmq", LEDGER)
        return super().publish_entries(target, jobs, options)

    def store_job_result(self, job_id: str, result: Any) -> None:
        """Keep a result by hand in the ledger, for older code."""
        self._needed_ledger().store_job_result(job_id, result)

    def get_job_result(self, job_id: str) -> Any:
        """Return what the ledger keeps: by `store_job_result`, else by the job itself; or None."""
        return self._needed_ledger().get_job_result(job_id)

    def __repr__(self) -> str:
        """Say where the jobs are, without credentials."""
        ledger = f", ledger={self.ledger!r}" if self.ledger else ""
        where = self._broker.location
        return f"{type(self).__name__}({where.shown!r}, namespace={where.namespace!r}{ledger})"

    def _needed_ledger(self) -> Any:
        if self.ledger is None:
            raise UnsupportedByBackendError("keeping a job's result", "rabbitmq", LEDGER)
        return self.ledger


def _success(message: str) -> dict[str, str]:
    return {"status": "success", "message": message}
