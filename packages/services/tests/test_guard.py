"""Services without a token: programs of this machine may call, web pages and other machines not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from services_support import EachService, Raw, environment, launched

from mindtrace.core import get_local_ip
from mindtrace.services import AccessDeniedError, InsecureBindError, ServerStatus, ServicesSettings
from mindtrace.services.guard import Caller, Guard
from mindtrace.services.serving import check_reach

if TYPE_CHECKING:
    from collections.abc import Iterator


def caller(**said: Any) -> Caller:
    plain = Caller("127.0.0.1", "127.0.0.1", "http", "localhost:8000", None, None)
    return plain._replace(**said)


def guard(**said: Any) -> Guard:
    insecure = said.pop("insecure", False)
    return Guard(ServicesSettings(**said), "service.example", {"/door": "open"}, insecure=insecure)


# decisions


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
        "10.1.2.3:80",
        "service.example",
        "Service.Example:8000",
        "also.example:1",
        "[fe80::1]:9",
        socket.gethostname(),
    ],
)
def test_a_known_name_or_any_address_may_be_called(host: str) -> None:
    own = guard(allowed_hosts=["ALSO.example:8000", "[fe80::1]"])

    assert own.refusal("/x", caller(host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":8000",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "localhost:8000:8000",
        "localhost, evil.example",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "[evil.example]",
        "[::1].evil.example",
        "localhost\x00",
        "0x7f.1",
        "127.1",
    ],
)
def test_an_unknown_name_is_refused_as_a_page_may_have_made_it_up(host: str) -> None:
    refusal = guard().refusal("/x", caller(host=host))

    assert refusal is not None
    assert refusal.status == 403
    assert "MINDTRACE_SERVICES__ALLOWED_HOSTS" in refusal.reason


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:8000",
        "HTTP://LOCALHOST:8000",
        "https://app.example",
        "https://APP.example",
    ],
)
def test_pages_of_the_service_and_of_named_origins_may_call(origin: str) -> None:
    own = guard(allowed_origins=["https://App.example/"])

    assert own.refusal("/x", caller(origin=origin)) is None


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "http://evil.example",
        "https://localhost:8000",
        "http://localhost",
        "http://localhost:8001",
        "http://localhost:8000.evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example/",
        "https://app.example:8443",
    ],
)
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    refusal = guard(allowed_origins=["https://app.example"]).refusal("/x", caller(origin=origin))

    assert refusal is not None
    assert "MINDTRACE_SERVICES__ALLOWED_ORIGINS" in refusal.reason


@pytest.mark.parametrize("address", ["10.0.0.5", "", "localhost", "unix:", "fe80::1", "127.0.0.1x"])
@pytest.mark.parametrize("path", ["/shutdown", "/shutdown\n"])
def test_nobody_from_afar_or_unknown_stops_a_service_without_a_token(
    address: str, path: str
) -> None:
    refusal = guard(insecure=True).refusal(path, caller(address=address))

    assert refusal is not None
    assert "from its own machine only" in refusal.reason


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"])
def test_programs_of_this_machine_stop_a_service(address: str) -> None:
    assert guard().refusal("/shutdown", caller(address=address)) is None


def test_what_is_reached_from_other_machines_takes_a_token_or_the_word_insecure() -> None:
    exposed = caller(address="10.0.0.5", reached="10.0.0.1")

    refusal = guard().refusal("/door", exposed)
    assert refusal is not None
    assert "insecure=True" in refusal.reason
    assert guard(insecure=True).refusal("/door", exposed) is None
    assert guard(api_token="sesame").refusal("/door", exposed) is None


@pytest.mark.parametrize("reached", ["", "/run/service.sock", "127.0.0.1", "::1"])
def test_what_cannot_be_reached_from_other_machines_takes_none(reached: str) -> None:
    assert guard().refusal("/x", caller(reached=reached)) is None


# a running service, attacked


@pytest.fixture(scope="module")
def each() -> Iterator[Any]:
    with launched(EachService) as manager:
        yield manager


@pytest.fixture
def raw(each: Any) -> Iterator[Raw]:
    with Raw(each.url) as connection:
        yield connection


PATHS = ["/shutdown", "//shutdown", "/shutdown/", "/%73hutdown", "/SHUTDOWN", "/shutdown%0a"]
MORE_PATHS = ["/shutdown?a=b", "/x/../shutdown", "/shutdown;a", "/./shutdown", "/shutdown%00"]
ODD_PATHS = ["http://evil.example/shutdown", "/shutdown%0d%0a", "/shutdown%2f"]


@pytest.mark.process
@pytest.mark.parametrize(
    "headers",
    [
        ["Host: {host}", "Origin: http://evil.example"],
        ["Host: {host}", "Origin: null"],
        ["Host: evil.example"],
        ["Host: evil.example", "Origin: http://evil.example"],
        ["Host: {host}", "Host: {host}"],
        ["Host: evil.example", "Host: {host}"],
        ["Host: {host}", "Host: evil.example"],
        ["Host: {host}", "Origin: http://{host}", "Origin: http://evil.example"],
        ["Host:"],
        [],
    ],
)
def test_no_page_stops_a_service(each: Any, raw: Raw, headers: list[str]) -> None:
    named = [line.format(host=raw.name) for line in headers]
    for path in (*PATHS, *MORE_PATHS, *ODD_PATHS):
        raw.send(f"POST {path} HTTP/1.1", *named, "Content-Length: 0", b"")
        assert (path, raw.answer().status in (400, 403)) == (path, True)

    assert each.status().status is ServerStatus.AVAILABLE


@pytest.mark.process
def test_an_old_client_without_a_host_is_refused(raw: Raw) -> None:
    raw.send("POST /shutdown HTTP/1.0", b"")

    assert raw.answer().status == 403


@pytest.mark.process
def test_a_refusal_is_json_with_an_id(raw: Raw) -> None:
    answer = raw.ask("POST /add", "X-Request-ID: mine", "Origin: null")

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "mine"
    body = json.loads(answer.body)
    assert body["error"]["type"] == "refused"
    assert "pages of null may not call" in body["error"]["message"]
    assert body["request_id"] == "mine"


@pytest.mark.process
def test_the_client_names_a_refusal(each: Any) -> None:
    manager = type(each)(each.url)
    manager._sync().headers["host"] = "evil.example"  # as if its name resolved to our address

    with manager.only_talking(), pytest.raises(AccessDeniedError, match="is not known here"):
        manager.add(a=1, b=2)


@pytest.mark.process
def test_a_preflight_of_a_page_gets_no_permission(raw: Raw) -> None:
    answer = raw.ask(
        "OPTIONS /add", "Origin: http://evil.example", "Access-Control-Request-Method: POST"
    )

    assert answer.status in (403, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.process
def test_a_web_socket_is_not_opened(raw: Raw) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    answer = raw.ask("GET /add", *upgrade, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")

    assert answer.status == 405


@pytest.mark.process
def test_forwarding_headers_of_anybody_are_not_believed(raw: Raw) -> None:
    answer = raw.ask(
        "POST /ping",
        "X-Forwarded-For: 10.0.0.5",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=10.0.0.5",
        "Origin: http://" + raw.name,
    )

    assert answer.status == 200


# other machines, for which an address of our own that is not the loopback stands in


def outside() -> str:
    """Return an address of this machine at which other machines can reach it."""
    address = get_local_ip()
    if address.startswith("127."):
        pytest.skip("this machine has no address but the loopback")
    return address


@pytest.mark.process
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "outside"])
def test_a_service_is_not_opened_to_other_machines_without_a_token(host: str) -> None:
    host = outside() if host == "outside" else host

    with pytest.raises(InsecureBindError, match=r"insecure=True"):
        EachService.launch(host=host, port=0)


@pytest.mark.process
@pytest.mark.parametrize("nothing", ["", " "])
def test_an_empty_token_opens_nothing(nothing: str) -> None:
    with (
        environment(MINDTRACE_SERVICES__API_TOKEN=nothing),
        pytest.raises(InsecureBindError),
    ):
        EachService.launch(host="0.0.0.0", port=0)


def test_sockets_are_looked_at_however_they_were_made() -> None:
    service = EachService()
    with socket.socket() as opened, socket.socket() as closed:
        opened.bind(("0.0.0.0", 0))
        closed.bind(("127.0.0.1", 0))

        check_reach(service, [closed])
        with pytest.raises(InsecureBindError):
            check_reach(service, [closed, opened])
        service.insecure = True
        check_reach(service, [opened])


@pytest.mark.process
def test_other_machines_call_an_insecure_service_but_do_not_stop_it() -> None:
    address = outside()
    with launched(EachService, host="0.0.0.0", insecure=True) as manager:
        with Raw(manager.url, host=address) as other, Raw(manager.url, host="127.0.0.1") as own:
            assert other.ask("POST /ping", host=address).status == 200
            for forged in ("127.0.0.1", "localhost", "::1"):
                answer = other.ask("POST /shutdown", f"X-Forwarded-For: {forged}", host=address)
                assert answer.status == 403
            assert other.ask("POST /ping", host="evil.example").status == 403
            assert own.ask("POST /shutdown").status == 200
        assert manager._child.wait(60)


@pytest.mark.process
def test_behind_a_trusted_proxy_the_address_that_it_tells_counts() -> None:
    with (
        launched(EachService, {"MINDTRACE_SERVICES__TRUSTED_PROXIES": "127.0.0.1,::1"}) as manager,
        Raw(manager.url) as proxy,
    ):
        for chain in ("10.0.0.5", "127.0.0.1, 10.0.0.5", "localhost, 10.0.0.5", "localhost", "-"):
            answer = proxy.ask("POST /shutdown", f"X-Forwarded-For: {chain}")
            assert (chain, answer.status) == (chain, 403)
        own_page = ["X-Forwarded-Proto: https", f"Origin: https://{proxy.name}"]
        assert proxy.ask("POST /ping", *own_page).status == 200
        assert proxy.ask("POST /ping", own_page[1]).status == 403
        assert proxy.ask("POST /shutdown", "X-Forwarded-For: 127.0.0.1").status == 200


ANOTHER_SERVER = """
import socket, sys, uvicorn
from services_support import EachService

listening = socket.socket(fileno=int(sys.argv[1]))
config = uvicorn.Config(EachService().app, log_level="critical")
uvicorn.Server(config).run(sockets=[listening])
"""


@pytest.mark.process
def test_another_server_than_ours_is_closed_to_other_machines_too() -> None:
    address = outside()
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        url = f"http://localhost:{listening.getsockname()[1]}"
        server = subprocess.Popen(
            [sys.executable, "-c", ANOTHER_SERVER, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            with Raw(url, host=address) as other, Raw(url, host="127.0.0.1") as own:
                refused = other.ask("POST /ping", host=address)
                allowed = own.ask("POST /ping")
        finally:
            server.terminate()
            server.wait(60)

    assert (refused.status, allowed.status) == (403, 200)
    assert "MINDTRACE_SERVICES__API_TOKEN" in refused.body.decode()
