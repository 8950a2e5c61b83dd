"""The client of a service: what it sends, what it makes of answers, and when it tries again."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from pydantic import Field, ValidationError
from services_support import (
    EachService,
    Login,
    Pair,
    Peer,
    Search,
    Slow,
    Sum,
    environment,
    eventually,
    launched,
    ok,
)

from mindtrace.services import (
    RequestInvalidError,
    ServerStatus,
    Service,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    endpoint,
)
from mindtrace.services.calling import query
from mindtrace.services.request_id import request_id

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.process


@contextmanager
def client(url: str) -> Generator[Any]:
    manager = EachService.client_class()(url)
    with manager.only_talking():
        yield manager


@contextmanager
def nobody() -> Generator[str]:
    """An address where nothing listens, and where nothing else can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


# how a call looks


def test_keywords_a_model_or_a_dict_are_the_same_input(each: Any) -> None:
    for total in (each.add(a=1, b=2), each.add(Pair(a=1, b=2)), each.add({"a": 1, "b": 2})):
        assert total == Sum(total=3)
        assert isinstance(total, Sum)
    assert each.add() == Sum(total=0)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("add", (1,), {}),
        ("add", (Pair(), Pair()), {}),
        ("add", (Pair(),), {"a": 1}),
        ("add", (Sum(total=1),), {}),
        ("add", (None,), {}),
        ("ping", (1,), {}),
        ("ping", (), {"a": 1}),
        ("anything", (1, 2), {}),
        ("anything", (1,), {"a": 1}),
    ],
)
def test_a_wrong_call_says_how_it_must_be_made(
    each: Any, name: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=f"{name}.. must be called with"):
        getattr(each, name)(*args, **kwargs)


def test_a_wrong_input_is_told_before_it_is_sent_and_not_shown(each: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        each.login(user=["sesame"], password="ses")

    assert "sesame" not in str(caught.value)
    assert "Value error, too short" in str(caught.value)
    assert "ses" not in repr(caught.value.errors()).replace("message", "")


def test_unvalidated_input_is_left_to_the_service_and_unvalidated_output_to_the_caller(
    each: Any,
) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        each.add(a="many", validate_input=False)
    assert caught.value.details == [
        {
            "type": "float_parsing",
            "loc": ["body", "a"],
            "msg": "Input should be a valid number, unable to parse string as a number",
        }
    ]
    assert each.add({"a": "1", "c": 1}, validate_input=False) == Sum(total=1)
    assert each.add(a=1, validate_output=False) == {"total": 1}


def test_options_that_the_input_has_itself_are_the_inputs(each: Any) -> None:
    expected = Slow(timeout=0.001, validate_input="mine")

    assert each.slow(timeout=0.001, validate_input="mine") == expected
    assert each.slow(expected) == expected
    with pytest.raises(ValidationError):
        each.slow()


def test_a_secret_reaches_the_handler_and_not_the_query_string(each: Any) -> None:
    assert "".join(each.login(user="u", password="**sésame**").characters) == "**sésame**"
    assert each.anything(["**********", {"a": "**********"}]) == ["**********", {"a": "**********"}]
    with pytest.raises(ValueError, match="a secret does not go into a query string"):
        query(Login.model_validate({"user": "u", "password": "sesame"}))


class Defaulted(Search):
    word: str = "x"
    tags: list[str] = Field(default_factory=lambda: ["a"])
    limit: int | None = 10


class DefaultedService(Service):
    @endpoint("/find", methods=["GET"])
    def find(self, search: Defaulted) -> Defaulted:
        return search


@pytest.mark.parametrize("said", [{"limit": None}, {"tags": []}])
def test_what_would_become_a_default_in_the_query_string_is_refused(said: dict[str, Any]) -> None:
    manager: Any = DefaultedService.client_class()()

    with pytest.raises(ValueError, match="cannot be told in a query string"):
        manager.find(**said)


@pytest.mark.parametrize("text", ["", "ü ☃ 🎈 \u2028\x00 \"'\\ <&>", "x" * 5_000_000])
def test_any_text_goes_there_and_back(each: Any, text: str) -> None:
    assert each.anything({text[:9]: [text]}) == {text[:9]: [text]}


# connections


def test_one_connection_serves_many_calls_and_closing_opens_another() -> None:
    with Peer(lambda _: ok({"total": 3})) as peer, client(peer.url) as manager:
        for _ in range(5):
            manager.add(a=1, b=2)
        assert len(peer.connections) == 1
        manager.close()
        manager.close()
        manager.add(a=1, b=2)
        assert len(peer.connections) == 2


def test_a_service_that_came_back_at_the_same_port_is_reached_without_an_error() -> None:
    with launched(EachService) as first:
        first.add(a=1)
        with client(str(first.url)) as manager:
            before = manager.server_id()
            first.shutdown()
            with launched(EachService, port=first.url.port):
                assert manager.add(a=1, b=2) == Sum(total=3)
                assert manager.server_id() != before


def test_sixteen_threads_share_a_client(each: Any) -> None:
    with client(str(each.url)) as manager, ThreadPoolExecutor(16) as pool:
        totals = list(pool.map(lambda n: manager.add(a=n, b=1).total, range(320)))
        connections = open_connections(each.url.port)

    assert totals == [n + 1 for n in range(320)]
    assert 1 <= connections <= 18


def open_connections(port: int) -> int:
    own = psutil.Process().net_connections("tcp")
    return len([each for each in own if each.raddr and each.raddr.port == port])


def test_threads_that_begin_together_make_one_pool(each: Any) -> None:
    for _ in range(20):
        with client(str(each.url)) as manager, ThreadPoolExecutor(8) as pool:
            barrier = threading.Barrier(8)

            def first(manager: Any = manager, barrier: threading.Barrier = barrier) -> object:
                barrier.wait()
                return manager._sync()

            begun = [pool.submit(first) for _ in range(8)]
            assert len({id(each.result()) for each in begun}) == 1


def test_a_client_that_somebody_closed_meanwhile_is_not_used(each: Any) -> None:
    with client(str(each.url)) as manager:
        manager.add(a=1)
        manager._client.close()

        assert manager.add(a=1, b=2) == Sum(total=3)


def test_a_forgotten_client_leaves_no_connection(each: Any) -> None:
    before = open_connections(each.url.port)
    for _ in range(5):
        EachService.connect(each.url).add(a=1)

    assert open_connections(each.url.port) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_does_not_share_the_connections_of_its_parent() -> None:
    with Peer(lambda _: ok({"total": 3})) as peer, client(peer.url) as manager:
        manager.add(a=1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = int(manager.add(a=1).total != 3)
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        manager.add(a=1)

        assert len(peer.connections) == 2
        assert len(peer.requests) == 3


# trying again


_watched: list[tuple[tuple[str, int], Any]] = []


def _on_connect(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watched and arguments[1][:2] == _watched[0][0]:
        _watched[0][1]()


sys.addaudithook(_on_connect)  # it cannot be taken away


@pytest.mark.parametrize("name", ["add", "find", "put"])
def test_a_call_that_found_nobody_is_made_again_whatever_it_is(name: str) -> None:
    attempts: list[int] = []
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = bound.getsockname()

        def begin_at_the_third() -> None:
            if len(attempts) == 2:
                bound.listen()  # before anybody can see the third
            attempts.append(1)

        _watched.append((address, begin_at_the_third))
        answered = threading.Thread(target=answer_once, args=(bound, attempts))
        answered.start()
        try:
            with client(f"http://127.0.0.1:{address[1]}") as manager:
                given = {"find": {"word": "x"}}.get(name, {"a": 1})
                getattr(manager, name)(**given, validate_output=False)
        finally:
            _watched.clear()
            answered.join()

    assert len(attempts) == 3


def answer_once(bound: socket.socket, attempts: list[int]) -> None:
    eventually(lambda: len(attempts) >= 3)
    connection, _ = bound.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(ok({}))


@pytest.mark.parametrize(
    ("name", "given", "times"),
    [
        ("add", {"a": 1}, 1),
        ("put", {"a": 1}, 1),
        ("remove", {"word": "x"}, 1),
        ("shutdown", {}, 1),
        ("find", {"word": "x"}, 3),
        ("heartbeat", {}, 3),
        ("class_name", {}, 3),
    ],
)
def test_a_call_that_may_have_arrived_is_made_again_only_where_that_is_safe(
    name: str, given: dict[str, Any], times: int
) -> None:
    with Peer(lambda _: None) as peer, client(peer.url) as manager:
        with pytest.raises(ServiceUnavailableError, match="may have been carried out") as caught:
            getattr(manager, name)(**given)

        assert len(peer.requests) == times
    assert caught.value.url == f"{peer.url}/{name}"


def test_a_call_that_is_safe_to_repeat_succeeds_after_a_cut() -> None:
    found = {"word": "x", "tags": [], "limit": None, "exact": False}
    with (
        Peer(lambda number: None if number == 1 else ok(found)) as peer,
        client(peer.url) as manager,
    ):
        assert manager.find(word="x").model_dump() == found
        assert len(peer.requests) == 2


def test_an_answer_that_is_an_error_is_not_asked_for_again() -> None:
    busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    with Peer(lambda _: busy) as peer, client(peer.url) as manager:
        with pytest.raises(ServiceError) as caught:
            manager.find(word="x")

        assert len(peer.requests) == 1
    error = caught.value
    assert (error.status, error.remote_type, error.remote_message, error.request_id) == (
        503,
        "Service Unavailable",
        "busy",
        "",
    )


def test_nobody_at_the_address_is_told_as_such() -> None:
    with nobody() as url, client(url) as manager:
        with pytest.raises(ServiceUnavailableError, match="no connection could be made") as caught:
            manager.add(a=1)
        assert caught.value.url == f"{url}/add"
        assert isinstance(caught.value, ConnectionError)
        with pytest.raises(ServiceUnavailableError):
            EachService.connect(url)
        assert manager.status().status is ServerStatus.DOWN
        assert EachService.status_at_host(url) is ServerStatus.DOWN


# time


@contextmanager
def silent() -> Generator[str]:
    """An address where connections are made and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_service_that_says_nothing_is_given_up() -> None:
    with silent() as url, client(url) as manager:
        with pytest.raises(ServiceTimeoutError) as caught:
            manager.add(a=1, timeout=0.2)
        assert (caught.value.seconds, caught.value.url) == (0.2, f"{url}/add")
        with pytest.raises(ServiceTimeoutError):
            EachService.connect(url, timeout=0.2)
        assert manager.status(timeout=0.2).status is ServerStatus.DOWN
        assert EachService.status_at_host(url, timeout=0.2) is ServerStatus.DOWN
        with pytest.raises(ServiceTimeoutError):
            manager.shutdown(timeout=0.2)


def test_a_handler_may_take_its_time_within_the_timeout(each: Any) -> None:
    assert each.add(a=1, b=2, timeout=float("inf")) == Sum(total=3)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_no_time_is_refused(each: Any, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout has to be a positive number of seconds"):
        each.add(a=1, timeout=timeout)


# what is no service


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Invalid JSON"),
        (ok({"status": "fine"}), "status: Input should be"),
        (ok([]), "Input should be an object"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnowhere", "nowhere"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "Found"),
    ],
)
def test_what_is_no_service_is_told_as_such(answer: bytes, reason: str) -> None:
    with Peer(lambda _: answer) as peer:
        with pytest.raises(ServiceError, match="what answers there is no service") as caught:
            EachService.connect(peer.url)
        assert EachService.status_at_host(peer.url) is ServerStatus.DOWN

    assert reason in str(caught.value)


def test_what_does_not_speak_http_is_told_as_such() -> None:
    with (
        Peer(lambda _: b"220 mail.example ESMTP\r\n\r\n") as peer,
        pytest.raises(ServiceUnavailableError, match="illegal status line"),
    ):
        EachService.connect(peer.url)


def test_what_is_wrong_with_an_answer_is_told_without_the_answer() -> None:
    with (
        Peer(lambda _: ok({"total": "sesame"}, "X-Request-ID: its-id")) as peer,
        client(peer.url) as manager,
        pytest.raises(ServiceError) as caught,
    ):
        manager.add(a=1)

    assert "total: Input should be a valid number" in str(caught.value)
    assert caught.value.request_id == "its-id"
    assert caught.value.__cause__ is None
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "detail", [["a", 1], [], [{}], [{"loc": "x", "msg": None}], [{"loc": [1], "msg": "m"}]]
)
def test_details_of_any_kind_are_taken(detail: list[Any]) -> None:
    body = ok({"detail": detail}).replace(b"200 OK", b"422 Unprocessable")
    with (
        Peer(lambda _: body) as peer,
        client(peer.url) as manager,
        pytest.raises(RequestInvalidError) as caught,
    ):
        manager.add(a=1)

    assert len(caught.value.details) == len(detail)
    assert str(caught.value)


# addresses and proxies


def test_proxies_of_the_environment_are_not_asked(each: Any) -> None:
    with Peer(lambda _: ok({})) as proxy:
        with environment(http_proxy=proxy.url, HTTP_PROXY=proxy.url, ALL_PROXY=proxy.url):
            with client(str(each.url)) as manager:
                assert manager.add(a=1, b=2) == Sum(total=3)
            assert EachService.status_at_host(each.url) is ServerStatus.AVAILABLE
        assert proxy.requests == []


def test_a_service_at_an_ipv6_address_is_reached() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6")
    with launched(EachService, host="::1") as manager:
        assert str(manager.url).startswith("http://[::1]:")
        with client(str(manager.url)) as other:
            assert other.add(a=1, b=2) == Sum(total=3)
        assert EachService.status_at_host(host_url(manager)) is ServerStatus.AVAILABLE


def host_url(manager: Any) -> str:
    return f"http://[0:0:0:0:0:0:0:1]:{manager.url.port}"


def test_what_is_sent_says_what_it_is_and_for_which_request() -> None:
    with Peer(lambda _: ok({"total": 1})) as peer, client(peer.url) as manager:
        token = request_id.set("our-id")
        try:
            manager.add(a=1)
        finally:
            request_id.reset(token)
        manager.add(a=1)

    (_, first, body), (_, second, _) = peer.requests
    assert body == b'{"a":1.0,"b":0.0}'
    assert first["content-type"] == first["accept"] == "application/json"
    assert first["x-request-id"] == "our-id"
    assert "x-request-id" not in second
    assert "authorization" not in first


# the end


def test_shutting_down_a_service_of_others_returns_when_its_port_is_free() -> None:
    with launched(EachService) as owner:
        other = EachService.connect(owner.url)
        assert other.process_id is None

        assert other.shutdown(block=True).shutdown

        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", owner.url.port))
        with pytest.raises(ServiceUnavailableError):
            other.shutdown()
        assert owner.shutdown().shutdown


def test_not_blocking_returns_before_the_end_and_the_end_comes() -> None:
    with launched(EachService) as owner:
        assert owner.shutdown(block=False).shutdown
        eventually(lambda: EachService.status_at_host(owner.url) is ServerStatus.DOWN)


def test_a_context_manager_ends_the_service_even_if_it_is_gone_or_the_block_fails() -> None:
    with launched(EachService) as owner:
        with pytest.raises(KeyError), EachService.connect(owner.url):
            raise KeyError
        assert owner._child.wait(60)
    with launched(EachService) as owner, EachService.connect(owner.url) as other:
        other.shutdown()
    with launched(EachService) as owner, EachService.connect(owner.url):
        os.kill(owner.process_id, signal.SIGKILL)
        owner._child.wait(60)


def test_a_client_that_only_talks_leaves_the_service_alone(each: Any) -> None:
    with client(str(each.url)) as manager:
        manager.add(a=1)

    assert each.status().status is ServerStatus.AVAILABLE
