"""The sockets that services listen on."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from mindtrace.services import sockets

if TYPE_CHECKING:
    from collections.abc import Generator

LOOPBACKS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@contextmanager
def listening(host: str, port: int = 0) -> Generator[list[socket.socket]]:
    """Listen for a while."""
    opened = sockets.listening(host, port)
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def port_of(opened: list[socket.socket]) -> int:
    """Return the port, which is the same of all."""
    (port,) = {each.getsockname()[1] for each in opened}
    return int(port)


def test_a_name_is_listened_to_on_each_of_its_addresses_with_one_port() -> None:
    names = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    with listening("localhost") as opened:
        assert {each.getsockname()[0] for each in opened} == {each[-1][0] for each in names}
        port = port_of(opened)
        for each in opened:
            socket.create_connection(each.getsockname()[:2]).close()
        assert port > 0


@pytest.mark.parametrize(("family", "address"), LOOPBACKS)
def test_an_address_is_listened_to_alone(family: socket.AddressFamily, address: str) -> None:
    with listening(address) as (opened,):
        assert (opened.family, opened.getsockname()[0]) == (family, address)


def test_of_two_who_want_a_port_one_gets_it_before_anybody_accepts() -> None:
    with listening("127.0.0.1") as first, pytest.raises(OSError, match="in use") as caught:
        sockets.listening("127.0.0.1", port_of(first))
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(("family", "address"), LOOPBACKS)
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_port_of_somebody_else_is_in_use(
    family: socket.AddressFamily, address: str, everywhere: bool
) -> None:
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if everywhere:
            other.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        else:
            other.bind((address, 0))
        other.listen()
        with pytest.raises(OSError, match="in use") as caught:
            sockets.listening(address, other.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_a_port_in_use_leaves_no_socket_open() -> None:
    with listening("localhost") as first:
        before = psutil.Process().num_fds()
        for _ in range(3):
            with pytest.raises(OSError, match="in use"):
                sockets.listening("localhost", port_of(first))
        assert psutil.Process().num_fds() == before


def test_a_port_is_free_again_though_connections_linger() -> None:
    with listening("127.0.0.1") as (first,):
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server, _ = first.accept()
        server.close()  # the side that closes first is the one that lingers
        client.close()

    with listening("127.0.0.1", port) as opened:
        assert port_of(opened) == port


def test_ipv4_and_ipv6_do_not_mix() -> None:
    with listening("::1") as (six,), listening("127.0.0.1", port_of([six])) as (four,):
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert four.getsockname()[1] == six.getsockname()[1]
    with listening("::") as (six,), listening("0.0.0.0", port_of([six])):
        pass


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "2001:db8::1", "a" * 300])
def test_a_host_that_is_not_here_is_an_error_of_the_system(host: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        sockets.listening(host, 0)
