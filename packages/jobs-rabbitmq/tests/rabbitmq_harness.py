"""The RabbitMQ store under test: a namespace on a real broker, where time really passes."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from mindtrace.core import SystemClock
from mindtrace.jobs import LocalClient
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs.testing import Harness
from mindtrace.jobs.testing.waiting import pause
from mindtrace.jobs_rabbitmq import RabbitMQClient

if TYPE_CHECKING:
    from pathlib import Path

    from mindtrace.jobs import OrchestratorBackend
    from mindtrace.jobs.backend import Holder

LONGEST = 110.0
"""Seconds of a test beyond which nothing happens that plain RabbitMQ knows of."""

LONGEST_TURN = 60.0
"""The same where the broker only knows when the turn of a job comes."""


def rabbitmq_address() -> str:
    """Return the broker's address, from the environment; the runner sets it after collecting."""
    return os.environ.get("MINDTRACE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")


class RabbitMQHarness(Harness):
    """A namespace on a broker. Ten seconds of a test are two."""

    beat = 0.2
    patience = 0.05
    lateness = 1.0

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._began = SystemClock().monotonic()
        self._clients: list[RabbitMQClient] = []
        self._namespaces: list[str] = []
        self.namespace = self._new_namespace()
        self.url = self.url_of(self.namespace)
        self.client = self.open()

    def url_of(self, namespace: str) -> str:
        """Return the URL of a namespace."""
        return f"{self._url}{'&' if '?' in self._url else '?'}namespace={namespace}"

    def open(self) -> OrchestratorBackend:
        """Connect once more to the same namespace."""
        return self._opened(self._client(self.namespace))

    def open_real(self) -> OrchestratorBackend:
        """Connect to another namespace; time is real everywhere here."""
        return self._opened(self._client(self._new_namespace()))

    def open_unusable(self) -> OrchestratorBackend:
        """Return a client of a port where nothing listens."""
        parts = urlsplit(self._url)
        return self._opened(RabbitMQClient(parts.hostname or "localhost", 1, "user", "password"))

    def elapsed(self) -> float:
        """Return the seconds of the test's time since it began."""
        return (SystemClock().monotonic() - self._began) / self.beat

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        pause(seconds * self.beat if seconds <= LONGEST else 0)

    def kill(self, holder: Holder) -> None:
        """End the channel; the broker has back what it held when this returns."""
        holder.abandon()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Remove what the namespaces have in the broker."""
        for client in self._clients:
            with suppress(BackendUnavailableError):
                client.close()
        for namespace in self._namespaces:
            with self._client(namespace) as client:
                client.delete_namespace()

    def _client(self, namespace: str) -> RabbitMQClient:
        return RabbitMQClient.from_url(self.url_of(namespace))

    def _opened(self, client: RabbitMQClient) -> RabbitMQClient:
        self._clients.append(client)
        return client

    def _new_namespace(self) -> str:
        self._namespaces.append(f"test-{uuid.uuid4().hex[:10]}")
        return self._namespaces[-1]


class ShiftedClock(SystemClock):
    """The machine's time, and some more of it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        """Return the time that it is then."""
        return super().now() + self.ahead


class LedgerHarness(RabbitMQHarness):
    """The same with a ledger on files; of its time, long stretches need not be waited for."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.clock = ShiftedClock()
        super().__init__(url)

    def url_of(self, namespace: str) -> str:
        """Return the URL of a namespace with its ledger."""
        ledger = quote(f"sqlite:///{self.folder / namespace}", safe="")
        return f"{super().url_of(namespace)}&ledger={ledger}"

    def advance(self, seconds: float) -> None:
        """Let time pass; what only the ledger knows of needs no waiting."""
        if seconds > LONGEST_TURN:
            self.clock.ahead += seconds * self.beat
        else:
            super().advance(seconds)

    def close(self) -> None:
        """Remove the ledgers too."""
        super().close()
        shutil.rmtree(self.folder)

    def crash(self, whose: Holder | OrchestratorBackend) -> None:
        """Kill, and look for the dead at once, as a waiting consumer does within two seconds."""
        super().crash(whose)
        self.store.ledger.reap()  # type: ignore[attr-defined]

    def _client(self, namespace: str) -> RabbitMQClient:
        ledger = LocalClient(self.folder / namespace, clock=self.clock)
        return RabbitMQClient(url=super().url_of(namespace), ledger=ledger)
