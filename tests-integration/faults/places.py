"""Where the jobs of a test are: which backend, and how to reach it. Travels to workers as JSON."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest

from mindtrace.jobs import LocalClient, OrchestratorBackend
from mindtrace.jobs.loading import backend_from_args

REDIS = pytest.param("redis", id="redis", marks=pytest.mark.redis(own=True))
RABBITMQ = pytest.param("rabbitmq", id="rabbitmq", marks=pytest.mark.rabbitmq(own=True))
LEDGER = pytest.param("ledger", id="rabbitmq with a ledger", marks=pytest.mark.rabbitmq(own=True))
LOCKED = pytest.param("locked", id="locked redis", marks=pytest.mark.redis(own=True))
"""A Redis that asks for a password."""
STRICT = pytest.param("strict", id="strict rabbitmq", marks=pytest.mark.rabbitmq(own=True))
"""A RabbitMQ that takes a job back from a consumer after `CONSUMER_TIMEOUT`."""
SERVERS = [REDIS, RABBITMQ, LEDGER]
"""Values of the fixture `crew`, for `indirect=True`: a server of the tests' own each time."""


CONSUMER_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """One backend as one client sees it.

    Attributes:
        backend: what its client is found by.
        kwargs: what the client is made with.
        ledger: the folder of a ledger beside it.
    """

    backend: str
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])
    ledger: str = ""

    @classmethod
    def folder(cls, folder: Path) -> Self:
        """A folder for LocalClient."""
        return cls("local", {"client_dir": str(folder)})

    def open(self) -> OrchestratorBackend:
        """Return a client of its own."""
        extra = {"ledger": LocalClient(self.ledger)} if self.ledger else {}
        return backend_from_args({"backend": self.backend, "kwargs": {**self.kwargs, **extra}})

    def through(self, port: int) -> Self:
        """The same server, by way of another port of this machine."""
        before, _, after = self.kwargs["url"].partition("127.0.0.1:")
        rest = after.lstrip("0123456789")
        return self.said(url=f"{before}127.0.0.1:{port}{rest}")

    def said(self, **kwargs: Any) -> Self:
        """The same, with other words to the client."""
        return replace(self, kwargs={**self.kwargs, **kwargs})
