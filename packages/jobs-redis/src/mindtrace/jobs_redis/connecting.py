"""Opening connections to whichever server has the jobs at the moment.

One server is where its address says; Sentinels are asked for the primary each time; in a Cluster
any node says MOVED until the one is found that has the namespace's slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import redis.exceptions as native
from redis.connection import Connection, SSLConnection
from redis.sentinel import Sentinel

if TYPE_CHECKING:
    from mindtrace.jobs_redis.address import Address, Tls

CONNECT_TIMEOUT = 5.0


class Wire(Protocol):
    """What this package uses of a connection of redis-py, which says little of its types."""

    _sock: Any

    def connect(self) -> None:
        """Open it, and log in."""
        ...

    def disconnect(self) -> None:
        """Close it."""
        ...

    def send_command(self, *words: Any) -> None:
        """Send a command."""
        ...

    def send_packed_command(self, command: list[bytes]) -> None:
        """Send a command that is bytes already."""
        ...

    def can_read(self, timeout: float) -> bool:
        """Tell whether something came in."""
        ...

    def read_response(self) -> Any:
        """Wait for the next answer."""
        ...


class Connector:
    """Makes connections for one address; thread-safe, for it only ever swaps whole values."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._node: tuple[str, int] | None = None

    def open(self, extra: float = 0.0) -> Wire:
        """Return a connection that is open; its answers may take `extra` seconds longer.

        Raises:
            RedisError, OSError: none could be opened.
        """
        failure: Exception | None = None
        for host, port in self._candidates():
            connection = self._make(host, port, self._timeout + extra)
            try:
                connection.connect()
            except native.AuthenticationError:
                raise
            except (native.RedisError, OSError) as error:
                failure = error
            else:
                return connection
        self._node = None
        raise failure or native.ConnectionError("no address is known")

    def moved(self, host: str, port: int) -> None:
        """Take note of the node that has the slot."""
        known = self._node or self._address.hosts[0]
        self._node = (host or known[0], port)

    def forget(self) -> None:
        """Look anew for the server at the next connection."""
        self._node = None

    def _candidates(self) -> tuple[tuple[str, int], ...]:
        if self._address.kind == "sentinel":
            return (self._primary(),)
        return (self._node, *self._address.hosts) if self._node else self._address.hosts

    def _primary(self) -> tuple[str, int]:
        timeout = min(self._timeout, CONNECT_TIMEOUT)
        options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "protocol": 2}
        with_tls = tls_options(self._address.tls)
        sentinel = cast("Any", Sentinel)(list(self._address.hosts), **options, **with_tls)
        try:
            host, port = sentinel.discover_master(self._address.service)
        finally:
            for each in sentinel.sentinels:
                each.close()
        return str(host), int(port)

    def _make(self, host: str, port: int, timeout: float) -> Wire:
        address = self._address
        kind = cast("Any", SSLConnection if address.tls else Connection)
        options = tls_options(address.tls)
        options.pop("ssl", None)
        made: Wire = kind(
            host=host,
            port=port,
            db=address.db,
            username=address.username,
            password=address.secret,
            socket_timeout=timeout,
            socket_connect_timeout=min(timeout, CONNECT_TIMEOUT),
            socket_keepalive=True,
            decode_responses=True,
            protocol=2,
            **options,
        )
        return made


def tls_options(tls: Tls | None) -> dict[str, Any]:
    """Return redis-py's names for how a server proves itself."""
    if tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": tls.ca_certs,
        "ssl_certfile": tls.certfile,
        "ssl_keyfile": tls.keyfile,
        "ssl_check_hostname": tls.check_hostname,
    }
