"""The sockets that a service listens on: one for each address of its host, all with one port."""

from __future__ import annotations

import errno
import os
import socket

_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
_TRIES = 20
_BACKLOG = 2048


def listening(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen; with port 0 on any port that is free on all addresses.

    `localhost` is often two addresses, 127.0.0.1 and ::1; a client may try either first. They
    listen at once, since of two sockets that are only bound to a port both believe that it is
    theirs. Who calls before somebody accepts has to wait.

    Raises:
        OSError: The port is in use (EADDRINUSE), or the host is unknown or not of this machine, or
            this user may not listen there.
    """
    for left in reversed(range(_TRIES)):
        try:
            return _listening(host, port)
        except OSError as error:
            # the port that was free on one address was taken on the other
            if port != 0 or error.errno != errno.EADDRINUSE or left == 0:
                raise
    raise AssertionError


def _listening(host: str, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host):
            opened = _opened(family, (address[0], port, *address[2:]))
            if opened is not None:
                sockets.append(opened)
                port = opened.getsockname()[1]
    except OSError:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, "it is no address of this machine", host)
    return sockets


def _addresses(host: str) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"it is no name of a host ({error})", host) from error
    # some resolvers name an address twice, and the second time it would be in use
    each_once = dict.fromkeys((family, address) for family, _, _, _, address in found)
    return sorted(each_once, key=lambda each: each[0])


def _opened(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket | None:
    try:
        opened = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        # Differs by necessity: on Windows the option would let us share a port in use.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        if error.errno in _ABSENT:
            return None
        raise
    return opened
