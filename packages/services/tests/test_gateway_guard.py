from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from gateway_support import OddApp, ask
from services_support import EachService, Raw, environment, launched

from mindtrace.services import AccessDeniedError, Gateway
from mindtrace.services.gateway.apps import app_of
from mindtrace.services.gateway.headers import request_headers
from mindtrace.services.gateway.types import AppConfig
from mindtrace.services.samples.echo_service import EchoService

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


TOKENS = {"MINDTRACE_SERVICES__API_TOKEN": "api", "MINDTRACE_SERVICES__ADMIN_TOKEN": "admin"}


def test_where_a_token_is_set_forwarding_needs_it() -> None:
    with OddApp() as app, environment(**TOKENS), launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)

        found = [
            ask(gateway.url, "GET", "/odd/reflect", headers=headers)[0]
            for headers in ({}, bearer("wrong"), bearer("api"), bearer("admin"))
        ]

        assert found == [401, 401, 200, 200]
        assert len(app.asked) == 2
        # whether there is an app is not told either, nor is anything open below it
        assert ask(gateway.url, "GET", "/nobody/x")[0] == 401
        assert ask(gateway.url, "GET", "/odd/status")[0] == 401


def test_registering_needs_the_admin_token() -> None:
    with environment(**TOKENS), launched(Gateway) as gateway:
        with environment(MINDTRACE_SERVICES__ADMIN_TOKEN=""):
            plain = Gateway.connect(gateway.url)
        with pytest.raises(AccessDeniedError, match="ADMIN_TOKEN"):
            plain.register_app("odd", "http://127.0.0.1:9")
        with pytest.raises(AccessDeniedError, match="ADMIN_TOKEN"):
            plain.unregister_app("odd")
        assert plain.list_apps() == []
        gateway.register_app("odd", "http://127.0.0.1:9")
        assert plain.list_apps() == ["odd"]
        plain.close()


def test_authorization_goes_to_an_app_only_if_its_registration_says_so() -> None:
    with OddApp() as app, environment(**TOKENS), launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)
        gateway.register_app("told", app.url, forward_auth=True)

        ask(gateway.url, "GET", "/odd/reflect", headers=bearer("api"))
        ask(gateway.url, "GET", "/told/reflect", headers=bearer("api"))

    without, told = app.asked
    assert [value for _, value in without.headers if "api" in value] == []
    assert told.all("authorization") == ["Bearer api"]
    assert [value for _, value in told.headers if "admin" in value] == []


def test_without_a_token_a_foreign_authorization_stays_at_the_gateway() -> None:
    with OddApp() as app, launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)

        ask(gateway.url, "GET", "/odd/reflect", headers={"Authorization": "Basic secret"})

    assert "secret" not in str(app.last())


def test_a_service_with_the_same_token_judges_the_caller_itself() -> None:
    with environment(**TOKENS), launched(Gateway) as gateway, launched(EachService) as each:
        gateway.register_app("each", each.url, each)
        with pytest.raises(AccessDeniedError):
            gateway.each.ping()

        gateway.register_app("each", each.url, each, forward_auth=True)
        gateway.each.for_admins()
        with environment(MINDTRACE_SERVICES__ADMIN_TOKEN=""):
            plain = Gateway.connect(gateway.url)
        url = str(plain.url)
        # the gateway lends nobody the rights that it has itself
        assert ask(url, "POST", "/each/ping", headers=bearer("api"))[0] == 200
        assert ask(url, "POST", "/each/for_admins", headers=bearer("api"))[0] == 403
        plain.close()


def test_without_a_token_a_page_from_elsewhere_reaches_no_app() -> None:
    with OddApp() as app, launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)

        page = ask(gateway.url, "POST", "/odd/reflect", headers={"Origin": "https://evil.test"})
        with Raw(gateway.url) as raw:
            rebound = raw.ask("GET /odd/reflect", host="evil.test")

    assert (page[0], rebound.status) == (403, 403)
    assert app.asked == []


def test_a_page_of_the_gateway_may_call_a_service_behind_it() -> None:
    with launched(EchoService) as echo, launched(Gateway) as gateway:
        gateway.register_app("echo", echo.url)
        origin = f"http://localhost:{gateway.url.port}"
        headers = {"Origin": origin, "Content-Type": "application/json"}

        found = ask(gateway.url, "POST", "/echo/echo", headers=headers, body=b'{"message": "x"}')

    assert (found[0], found[2]) == (200, b'{"echoed":"x"}')


@pytest.mark.parametrize("said", ["10.1.2.3", "10.1.2.3, 127.0.0.1", "unknown"])
def test_a_service_is_not_shut_down_by_a_call_that_came_from_afar_through_a_gateway(
    said: str,
) -> None:
    with launched(EchoService) as echo:
        refused = ask(echo.url, "POST", "/shutdown", headers={"X-Forwarded-For": said})
        assert refused[0] == 403
        assert echo.status().status.value == "Available"
        near = ask(echo.url, "POST", "/shutdown", headers={"X-Forwarded-For": "127.0.0.1, ::1"})
        assert near[0] == 200


@pytest.mark.parametrize(
    ("client", "before", "passed_on"),
    [
        ("10.0.0.9", None, b"10.0.0.9"),
        ("10.0.0.9", b"127.0.0.1", b"10.0.0.9"),
        ("127.0.0.1", b"10.0.0.9", b"10.0.0.9, 127.0.0.1"),
        ("::1", b"10.0.0.9, 127.0.0.1", b"10.0.0.9, 127.0.0.1, ::1"),
    ],
)
def test_only_programs_of_this_machine_are_believed_where_a_request_came_from(
    client: str, before: bytes | None, passed_on: bytes
) -> None:
    app = app_of(AppConfig(name="odd", url="http://h"))
    headers = [(b"host", b"gateway")]
    if before is not None:
        headers.append((b"x-forwarded-for", before))
    scope = {"client": (client, 1), "scheme": "http", "headers": headers}

    lines = request_headers(app, scope, b"name", b"id").lines

    assert [value for name, value in lines if name == b"x-forwarded-for"] == [passed_on]


def test_the_length_of_a_body_cannot_be_declared_to_be_about_the_connection() -> None:
    with OddApp() as app, launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)
        smuggled = b"GET /odd/teapot HTTP/1.1\r\nHost: x\r\n\r\n"
        with Raw(gateway.url) as raw:
            raw.ask("POST /odd/reflect", "Connection: content-length", body=smuggled)

    assert [each.target for each in app.asked] == ["/reflect"]
    assert app.last().one("content-length") == str(len(smuggled))


def test_pages_may_call_from_elsewhere_only_where_the_settings_say_so() -> None:
    origin = {"Origin": "https://app.test"}
    with OddApp() as app, launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)
        assert ask(gateway.url, "GET", "/odd/reflect", headers=origin)[0] == 403

    allowed: dict[str, Any] = {"MINDTRACE_SERVICES__ALLOWED_ORIGINS": origin["Origin"]}
    with OddApp() as app, environment(**allowed), launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)
        status, headers, _ = ask(gateway.url, "GET", "/odd/reflect", headers=origin)
        assert (status, headers["access-control-allow-origin"]) == (200, origin["Origin"])
        assert app.last().all("origin") == ["https://app.test"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that signs itself; its key is in the same file."""
    path = tmp_path / "certificate.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout - -addext"
    try:
        made = subprocess.run(["openssl", *request.split(), names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    path.write_bytes(made.stdout)
    return path


def test_an_app_that_speaks_tls_is_called_if_its_certificate_is_trusted(certificate: Path) -> None:
    with environment(MINDTRACE_SERVICES__TLS_CERTIFICATE=str(certificate)):
        secure = EchoService.launch(port=0, progress_bar=False)
    body, headers = b'{"message": "x"}', {"Content-Type": "application/json"}
    try:
        with environment(MINDTRACE_SERVICES__TLS_CA=str(certificate)), launched(Gateway) as gateway:
            gateway.register_app("echo", secure.url)
            found = ask(gateway.url, "POST", "/echo/echo", body=body, headers=headers)
            assert (found[0], found[2]) == (200, b'{"echoed":"x"}')
        with launched(Gateway) as gateway:
            gateway.register_app("echo", secure.url)
            status, _, answer = ask(gateway.url, "POST", "/echo/echo", body=body, headers=headers)
            assert status == 502
            assert b"its certificate is not trusted: self-signed certificate" in answer
    finally:
        secure._child.end(10.0)
        secure.close()
