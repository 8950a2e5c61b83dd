"""The Redis store under test: a namespace of its own, and a clock that runs ahead at will."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit, urlunsplit

from redis import Redis

from mindtrace.jobs.testing import Harness
from mindtrace.jobs_redis import RedisClient
from mindtrace.jobs_redis.holder import RedisHolder

if TYPE_CHECKING:
    from mindtrace.jobs.backend import Holder
    from mindtrace.jobs.client import OrchestratorBackend

CLOSED = 1
"""A port at which nothing listens."""


def with_namespace(url: str, namespace: str) -> str:
    """Return the URL of the same server with a namespace."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"namespace={namespace}"))


def remove_keys(url: str, namespace: str) -> None:
    """Remove what a namespace left."""
    server = cast("Any", Redis).from_url(url)
    try:
        found = list(server.scan_iter(f"{{mt1:{namespace}}}*", count=1000))
        if found:
            server.delete(*found)
    finally:
        server.close()


class RedisHarness(Harness):
    """A namespace of the server at `url`; time is moved by the offset that scripts add."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.server_url = url
        self._name = f"test-{uuid.uuid4().hex[:12]}"
        self._offset = 0.0
        self._shifted: list[RedisClient] = []
        self._others: list[RedisClient] = []
        self._own = self.open()
        self.client = self._own
        self.url = with_namespace(url, f"{self._name}-real")

    def open(self) -> RedisClient:
        """Return another client of the namespace, in the test's time."""
        client = RedisClient.from_url(with_namespace(self.server_url, self._name))
        client.store.server.offset = self._offset
        self._shifted.append(client)
        return client

    def open_real(self) -> OrchestratorBackend:
        """Return a client of a namespace in the server's own time."""
        assert self.url is not None
        self._others.append(RedisClient.from_url(self.url))
        return self._others[-1]

    def open_unusable(self) -> OrchestratorBackend:
        """Return a client of a port where nobody listens."""
        self._others.append(RedisClient("127.0.0.1", CLOSED))
        return self._others[-1]

    def advance(self, seconds: float) -> None:
        """Let every script add so much more to the server's time."""
        self._offset += seconds
        for client in self._shifted:
            client.store.server.offset = self._offset

    def kill(self, holder: Holder) -> None:
        """End the lease and write nothing else, as the end of a process does."""
        assert isinstance(holder, RedisHolder)
        holder.die()

    def crash(self, whose: Holder | OrchestratorBackend) -> None:
        """Kill, and look for the dead at once: every waiting consumer does within a second."""
        super().crash(whose)
        self._own.store.reap()

    def close(self) -> None:
        """End every client and remove what they left."""
        for client in [*self._shifted, *self._others]:
            client.close()
        for namespace in (self._name, f"{self._name}-real"):
            remove_keys(self.server_url, namespace)
