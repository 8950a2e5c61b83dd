"""`LocalClient`: jobs in a SQLite file on this machine, or in the memory of this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic_core import from_json

from mindtrace.jobs.backend import RESULT_TTL
from mindtrace.jobs.client import OrchestratorBackend
from mindtrace.jobs.consumer_backend import ConsumerBackend
from mindtrace.jobs.loading import local_folder
from mindtrace.jobs.local.store import LocalStore
from mindtrace.jobs.wire import MAX_PAYLOAD, to_text

if TYPE_CHECKING:
    from mindtrace.core import Clock
    from mindtrace.jobs.local.opening import Durability


class LocalConsumerBackend(ConsumerBackend):
    """The engine on a local store: woken by a named pipe, never polling."""


class LocalClient(OrchestratorBackend):
    """Queues in one SQLite file, shared by any number of processes on one machine.

    The folder must be on a local disk: SQLite's shared memory and the kernel's locks do not work
    over a network file system. It is made for this user alone (0700).

    Args:
        client_dir: the folder; by default `orchestrator/local_client` below
            `MINDTRACE_DIR_PATHS__ROOT`, which one log line names.
        broker_id: a name of your own for this client.
        durability: "normal" survives the death of any process; "full" forces each commit to the
            disk and survives a loss of power, at a fraction of the speed.
        max_payload: bytes that a job's text may have at most.
        clock: dates the jobs; for tests.
    """

    store: LocalStore
    consumer_backend_class: ClassVar[type[ConsumerBackend]] = LocalConsumerBackend

    def __init__(
        self,
        client_dir: str | Path | None = None,
        broker_id: str | None = None,
        *,
        durability: Durability = "normal",
        max_payload: int = MAX_PAYLOAD,
        clock: Clock | None = None,
    ) -> None:
        if durability not in ("normal", "full"):
            message = f'durability is "normal" or "full", not {durability!r}'
            raise ValueError(message)
        folder = Path(client_dir).expanduser().resolve() if client_dir else _default_folder()
        super().__init__(LocalStore(folder, durability, clock), max_payload=max_payload)
        self.client_dir: Path | None = folder
        self.broker_id = broker_id
        self.durability = durability
        if client_dir is None:
            self.logger.info("Jobs are kept in %s.", folder)

    @classmethod
    def in_memory(
        cls,
        broker_id: str | None = None,
        *,
        max_payload: int = MAX_PAYLOAD,
        clock: Clock | None = None,
    ) -> Self:
        """Return a client whose jobs end with it; for tests and for queues inside one process."""
        self = cls.__new__(cls)
        OrchestratorBackend.__init__(
            self, LocalStore(None, "normal", clock), max_payload=max_payload
        )
        self.client_dir = None
        self.broker_id = broker_id
        self.durability = "normal"
        return self

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the client of `sqlite:///folder` or `memory://`."""
        folder = local_folder(url)
        return cls.in_memory() if folder is None else cls(folder)

    @property
    def queues(self) -> dict[str, str]:
        """The type of each queue by name."""
        return {name: queue.queue_type for name, queue in self.store.queues().items()}

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

    @property
    def consumer_backend_args(self) -> dict[str, Any]:
        """What another process on this machine needs to connect to the same folder."""
        if self.client_dir is None:
            message = "a client in memory cannot be reached from another process; give it a folder"
            raise NotImplementedError(message)
        kwargs = {
            "client_dir": str(self.client_dir),
            "durability": self.durability,
            "max_payload": self.max_payload,
        }
        return {"backend": "local", "kwargs": kwargs}


def _default_folder() -> Path:
    from mindtrace.core import get_config  # noqa: PLC0415 - pydantic-settings is slow to load

    return Path(get_config().dir_paths.orchestrator_local_client)
