"""Ports and addresses of this machine, and waiting for a server.

Nothing here keeps a port: between finding one and listening on it, another process may take it.
A server that can should listen on port 0 and report the port it got.
"""

import errno
import os
import socket
from contextlib import closing

from mindtrace.core.clock import Clock, SystemClock
from mindtrace.core.errors import NetworkError, NoFreePortError, PortInUseError, ServiceTimeoutError

_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
_LAST_PORT = 65535


def is_port_available(host: str = "localhost", port: int = 8000) -> bool:
    """Return whether a server could listen on the port right now.

    A name with several addresses, as `localhost` often has, must be free on each of them.

    Raises:
        NetworkError: The host is unknown or not an address of this machine, there is no such port,
            or this user may not listen on it.
    """
    usable = [_can_listen(family, address) for family, address in _addresses(host, port)]
    if all(answer is None for answer in usable):
        raise NetworkError(f"{host}:{port}", "it is no address of this machine")
    return False not in usable


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    # Checked here because resolvers take a larger number and wrap it around.
    if not 0 <= port <= _LAST_PORT:
        raise NetworkError(f"{host}:{port}", f"a port is a number from 0 to {_LAST_PORT}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise NetworkError(f"{host}:{port}", f"it does not resolve ({error})") from error
    return [(family, address) for family, _, _, _, address in found]


def _can_listen(family: socket.AddressFamily, address: tuple[object, ...]) -> bool | None:
    """Try to bind; None says that this machine has no such address."""
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            # As servers do: a port whose last connections are only lingering counts as free.
            # Differs by necessity: on Windows the option would let us share a port in use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno == errno.EADDRINUSE:
            return False
        raise NetworkError(f"{address[0]}:{address[1]}", str(error)) from error
    return True


def check_port_available(host: str = "localhost", port: int = 8000) -> None:
    """Return if a server could listen on the port right now, raise otherwise.

    Raises:
        PortInUseError: Something else listens there.
        NetworkError: As `is_port_available`.
    """
    if not is_port_available(host, port):
        raise PortInUseError(host, port)


def get_free_port(host: str = "localhost", start_port: int = 8000, end_port: int = 9000) -> int:
    """Return the lowest free port from `start_port` to `end_port`, both included.

    The port is not reserved: two processes that ask at the same time get the same answer.

    Raises:
        NoFreePortError: All ports of the range are in use.
        NetworkError: As `is_port_available`.
    """
    return get_free_ports(host, start_port, end_port, ports_to_find=1)[0]


def get_free_ports(
    host: str = "localhost", start_port: int = 8000, end_port: int = 9000, ports_to_find: int = 1
) -> list[int]:
    """Return the lowest `ports_to_find` free ports of a range, both ends included, in order.

    The ports are not reserved, as with `get_free_port`.

    Raises:
        NoFreePortError: Fewer ports of the range are free.
        NetworkError: As `is_port_available`.
    """
    free: list[int] = []
    for port in range(start_port, end_port + 1):
        if len(free) == ports_to_find:
            break
        if is_port_available(host, port):
            free.append(port)
    if len(free) < ports_to_find:
        raise NoFreePortError(host, start_port, end_port, ports_to_find)
    return free


def wait_for_service(
    host: str,
    port: int,
    timeout: float = 30.0,
    *,
    retry_delay: float = 0.1,
    clock: Clock | None = None,
) -> None:
    """Return as soon as something accepts a TCP connection, trying for `timeout` seconds.

    Accepting a connection is all that is asked: the service may not be ready to answer yet. A
    host that swallows packets can hold one attempt for a second beyond the deadline.

    Raises:
        ServiceTimeoutError: Nothing accepted a connection in time; chained from the last refusal.
    """
    clock = clock or SystemClock()
    deadline = clock.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
        except OSError as error:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise ServiceTimeoutError(host, port, timeout) from error
            clock.sleep(min(retry_delay, left))
        else:
            return


def get_local_ip(toward: str = "192.0.2.1") -> str:
    """Return the address under which this machine would speak to `toward`. Sends nothing.

    The default stands for "somewhere outside". Without a route, the answer is `127.0.0.1`; behind
    a translating router it is the inner address.
    """
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((toward, 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
    return address
