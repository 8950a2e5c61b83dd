"""The fault proxy itself, before an echo of bytes and before a real Redis: each fault happens."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from select import select
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from proxy import FaultProxy

from mindtrace.jobs.testing.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.services.redis import RedisServer

PATIENCE = 20


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.heard = bytearray()
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[peer], daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            while data := peer.recv(65536):
                self.heard += data
                peer.sendall(data)
        self.ended += 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy: FaultProxy) -> Iterator[Callable[[], socket.socket]]:
    clients: list[socket.socket] = []

    def connect() -> socket.socket:
        clients.append(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def ask(client: socket.socket, question: bytes) -> bytes:
    client.sendall(question)
    return exactly(client, len(question))


def exactly(client: socket.socket, count: int) -> bytes:
    answer = b""
    while len(answer) < count:
        more = client.recv(count - len(answer))
        assert more, f"ended after {answer!r}"
        answer += more
    return answer


def test_without_a_fault_all_bytes_pass_both_ways(connect: Callable[[], socket.socket]) -> None:
    big = os.urandom(3_000_000)
    client = connect()
    sender = threading.Thread(target=client.sendall, args=[big])
    sender.start()

    assert exactly(client, len(big)) == big
    sender.join()


def test_the_end_of_one_side_reaches_the_other(
    connect: Callable[[], socket.socket], echo: Echo, proxy: FaultProxy
) -> None:
    client = connect()
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)

    assert exactly(client, 10) == b"last words"
    assert client.recv(1) == b""
    eventually(lambda: proxy.open == 0)
    eventually(lambda: echo.ended == 1)


def test_a_delay_counts_each_way(connect: Callable[[], socket.socket], proxy: FaultProxy) -> None:
    client = connect()
    proxy.delay = 0.2
    began = monotonic()

    assert ask(client, b"hello") == b"hello"
    assert monotonic() - began >= 0.4


def test_a_rate_slows_what_passes(connect: Callable[[], socket.socket], proxy: FaultProxy) -> None:
    client = connect()
    proxy.rate = 10_000
    began = monotonic()

    assert len(ask(client, bytes(2_000))) == 2_000
    assert monotonic() - began >= 0.4  # 0.2 s each way


def test_silence_holds_what_passes_until_it_ends(
    connect: Callable[[], socket.socket], proxy: FaultProxy, echo: Echo
) -> None:
    client = connect()
    assert ask(client, b"before") == b"before"
    proxy.silent = True
    client.sendall(b"during")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert bytes(echo.heard) == b"before"

    proxy.silent = False
    client.settimeout(PATIENCE)

    assert exactly(client, 6) == b"during"


def test_a_refused_connection_is_reset_and_counted(
    connect: Callable[[], socket.socket], proxy: FaultProxy
) -> None:
    proxy.refuses = True
    with pytest.raises(ConnectionError):
        connect().recv(1)
    proxy.refuses = False

    assert ask(connect(), b"again") == b"again"
    assert proxy.accepted == 2


def test_a_cut_resets_all_connections_and_lets_new_ones_in(
    connect: Callable[[], socket.socket], proxy: FaultProxy, echo: Echo
) -> None:
    clients = [connect(), connect()]
    for client in clients:
        ask(client, b"hello")

    proxy.cut()

    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    eventually(lambda: echo.ended == 2)
    assert ask(connect(), b"again") == b"again"


def test_a_cut_reaches_a_silent_connection(
    connect: Callable[[], socket.socket], proxy: FaultProxy
) -> None:
    client = connect()
    ask(client, b"hello")
    proxy.silent = True
    client.sendall(b"unheard")

    proxy.cut()

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_cut_reaches_who_sends_to_a_peer_that_does_not_read(proxy: FaultProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
        client.setblocking(False)
        while select([], [client], [], 0.5)[1]:
            client.send(bytes(65536))  # the echo comes back, is not read, and all buffers fill

        proxy.cut()

        eventually(lambda: proxy.open == 0)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_cut_after_some_bytes_delivers_just_those(
    connect: Callable[[], socket.socket], proxy: FaultProxy, echo: Echo, count: int
) -> None:
    client = connect()
    ask(client, b"hello")
    proxy.cut_after(count)

    client.sendall(b"command")

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    eventually(lambda: echo.ended == 1)
    assert bytes(echo.heard) == b"hello" + b"command"[:count]
    assert ask(connect(), b"more than seven bytes") == b"more than seven bytes"


def test_a_cut_counts_bytes_over_several_sends(
    connect: Callable[[], socket.socket], proxy: FaultProxy, echo: Echo
) -> None:
    client = connect()
    proxy.cut_after(5)

    assert ask(client, b"abc") == b"abc"
    client.sendall(b"defgh")

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    eventually(lambda: echo.ended == 1)
    assert bytes(echo.heard) == b"abcde"


def test_without_a_server_a_connection_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = listener.getsockname()[1]
    with (
        FaultProxy("127.0.0.1", gone) as proxy,
        pytest.raises(ConnectionError),  # already from connecting, if that takes long enough
        socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client,
    ):
        client.recv(1)


def test_the_end_of_the_proxy_leaves_no_thread(echo: Echo) -> None:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        ask(client, b"hello")
        proxy.silent = True

    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("proxy ")]


@pytest.mark.redis
def test_redis_answers_through_it_but_never_hears_of_half_a_command(
    own_redis: Callable[[], RedisServer],
) -> None:
    server = own_redis()
    with FaultProxy("127.0.0.1", server.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
            client.sendall(b"PING\r\n")
            assert exactly(client, 7) == b"+PONG\r\n"
            proxy.cut_after(5)
            client.sendall(b"INCR half\r\n")
            with pytest.raises(ConnectionResetError):
                client.recv(1)

        assert server.ctl("EXISTS", "half") == 0


@pytest.mark.redis
def test_redis_obeys_a_command_whose_answer_is_lost(own_redis: Callable[[], RedisServer]) -> None:
    server = own_redis()
    command = b"INCR whole\r\n"
    with FaultProxy("127.0.0.1", server.port) as proxy:
        proxy.cut_after(len(command))
        with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
            client.sendall(command)
            with pytest.raises(ConnectionResetError):
                client.recv(1)

        eventually(lambda: server.ctl("GET", "whole") == "1")
