"""Services with tokens: what they open, and that they are shown nowhere."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from services_support import EachService, Raw, environment, eventually, launched

from mindtrace.core import get_local_ip
from mindtrace.services import AccessDeniedError, ServerStatus, ServiceError, ServicesSettings
from mindtrace.services.guard import Caller, Guard

if TYPE_CHECKING:
    from collections.abc import Iterator

API, ADMIN = "sesame-of-many", "sesame-of-few"
SCOPES = {"/open": "open", "/api": "api", "/admin": "admin"}


def statuses(authorization: str | None, **tokens: str) -> list[int]:
    """Return what an open, a common, an administrators' and an unknown path answer."""
    guard = Guard(ServicesSettings(**tokens), "localhost", SCOPES)
    afar = Caller("10.0.0.5", "10.0.0.1", "http", "evil.example", "null", authorization)
    found = [guard.refusal(path, afar) for path in (*SCOPES, "/unknown")]
    return [each.status if each else 200 for each in found]


@pytest.mark.parametrize(
    ("shown", "tokens", "expected"),
    [
        (None, {"api_token": API}, [200, 401, 401, 401]),
        (API, {"api_token": API}, [200, 200, 200, 200]),
        (None, {"api_token": API, "admin_token": ADMIN}, [200, 401, 401, 401]),
        (API, {"api_token": API, "admin_token": ADMIN}, [200, 200, 403, 200]),
        (ADMIN, {"api_token": API, "admin_token": ADMIN}, [200, 200, 200, 200]),
        (None, {"admin_token": ADMIN}, [200, 401, 401, 401]),
        (API, {"admin_token": ADMIN}, [200, 401, 401, 401]),
        (ADMIN, {"admin_token": ADMIN}, [200, 200, 200, 200]),
        (API, {"api_token": API + "\n"}, [200, 200, 200, 200]),
    ],
)
def test_a_token_opens_its_scope_from_anywhere(
    shown: str | None, tokens: dict[str, str], expected: list[int]
) -> None:
    authorization = None if shown is None else f"Bearer {shown}"

    assert statuses(authorization, **tokens) == expected


BASIC = base64.b64encode(f"user:{API}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {API[:-1]}",
        f"Bearer {API}x",
        f"Bearer {API} x",
        f"Bearer {API}, Bearer {API}",
        f"Bearer\t{API}",
        f"Bearer {API.upper()}",
        API,
        f"Token {API}",
        f"Basic {API}",
        f"Basic {BASIC}",
        "Bearer \xe9\xff\x00",
        "Bearer " + "x" * 100_000,
        "Bearer None",
        "Bearer **********",
    ],
)
def test_what_is_not_the_token_opens_nothing(authorization: str) -> None:
    assert statuses(authorization, api_token=API) == [200, 401, 401, 401]


@pytest.mark.parametrize("authorization", [f"bearer {API}", f"BEARER  {API} ", f"Bearer {API}\t"])
def test_the_word_before_the_token_and_the_space_around_it_do_not_matter(
    authorization: str,
) -> None:
    assert statuses(authorization, api_token=API) == [200] * 4


def test_a_refusal_says_which_token_is_needed() -> None:
    caller = Caller("", "", "http", "", None, None)

    both = Guard(ServicesSettings(api_token=API, admin_token=ADMIN), "localhost", SCOPES)
    for path, name in (("/api", "API_TOKEN"), ("/admin", "ADMIN_TOKEN")):
        refusal = both.refusal(path, caller)
        assert refusal is not None
        assert f"MINDTRACE_SERVICES__{name}" in refusal.reason


# a running service


@pytest.fixture(scope="module")
def each() -> Iterator[Any]:
    variables = {
        "MINDTRACE_SERVICES__API_TOKEN": API,
        "MINDTRACE_SERVICES__ADMIN_TOKEN": ADMIN,
        "MINDTRACE_SERVICES__ALLOWED_ORIGINS": "https://app.example",
        "MINDTRACE_LOGGER__LEVEL": "DEBUG",
    }
    with launched(EachService, variables, host="0.0.0.0") as manager:
        yield manager


@pytest.fixture
def raw(each: Any) -> Iterator[Raw]:
    with Raw(each.url) as connection:
        yield connection


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


@pytest.mark.process
def test_every_path_but_the_open_ones_takes_a_token(raw: Raw) -> None:
    service = EachService()
    paths = [(endpoint.methods[0], endpoint.path, endpoint.scope) for endpoint in service.table]
    paths += [("GET", "/docs", "api"), ("GET", "/openapi.json", "api")]
    paths += [("GET", "/static-offline-docs/swagger-ui.css", "api"), ("POST", "/nothing", "api")]

    for method, path, scope in paths:
        status = raw.ask(f"{method} {path}").status
        assert (path, status != 401) == (path, scope == "open")
        status = raw.ask(f"{method} {path}", bearer("wrong")).status
        assert (path, status != 401) == (path, scope == "open")
    assert {path for _, path, scope in paths if scope == "open"} == {
        "/status",
        "/heartbeat",
        "/for_all",
    }


STARTS = ["/", "//", "/./", "/x/../", "http://evil.example/", "/%2e/"]
ENDS = ["", "/", "?x", "#x", "%0a", "%00", "%2f", ";x", "/.", "/..;/for_admins"]


@pytest.mark.process
@pytest.mark.parametrize("name", ["for_admins", "FOR_ADMINS", "%66or_admins", "for%5fadmins"])
def test_no_way_of_writing_its_path_opens_an_endpoint_to_a_weaker_token(
    raw: Raw, name: str
) -> None:
    paths = [f"{start}{name}{end}" for start in STARTS for end in ENDS]

    found = {path: raw.ask(f"POST {path}", bearer(API)).status for path in paths}

    assert not {path: status for path, status in found.items() if status not in (403, 404)}


@pytest.mark.process
def test_the_administrators_token_opens_what_is_theirs(raw: Raw) -> None:
    assert raw.ask("POST /for_admins", bearer(ADMIN)).status == 200
    refused = raw.ask("POST /for_admins", bearer(API))
    assert refused.status == 403
    assert "MINDTRACE_SERVICES__ADMIN_TOKEN" in refused.body.decode()


@pytest.mark.process
def test_a_refusal_asks_for_a_token_as_http_has_it(raw: Raw) -> None:
    answer = raw.ask("POST /add", bearer("wrong"))

    assert answer.headers["www-authenticate"] == "Bearer"
    assert json.loads(answer.body)["error"]["type"] == "refused"
    assert "wrong" not in answer.body.decode()


@pytest.mark.process
def test_two_tokens_in_one_request_are_refused(raw: Raw) -> None:
    assert raw.ask("POST /ping", bearer("wrong"), bearer(API)).status == 400
    assert raw.ask("POST /ping", bearer(API), bearer("wrong")).status == 400


@pytest.mark.process
def test_other_machines_stop_a_service_with_a_token_only(each: Any) -> None:
    address = get_local_ip()
    with (
        launched(EachService, {"MINDTRACE_SERVICES__API_TOKEN": API}, host="0.0.0.0") as manager,
        Raw(manager.url, host=address) as other,
    ):
        assert other.ask("POST /shutdown", "X-Forwarded-For: 127.0.0.1").status == 401
        assert other.ask("POST /shutdown", bearer(API), host="any.example").status == 200
        assert manager._child.wait(60)


@pytest.mark.process
def test_clients_show_the_token_of_their_settings(each: Any) -> None:
    stranger = type(each)(each.url)
    with environment(MINDTRACE_SERVICES__API_TOKEN=API):
        weak = type(each)(each.url)

    assert each.for_admins() is None
    assert weak.add(a=1, b=2).total == 3
    with pytest.raises(AccessDeniedError) as caught:
        weak.for_admins()
    assert caught.value.status == 403
    with pytest.raises(AccessDeniedError) as caught:
        stranger.add(a=1, b=2)
    assert caught.value.status == 401
    assert stranger.status().status is ServerStatus.AVAILABLE
    with pytest.raises(AccessDeniedError):
        stranger.shutdown()
    for manager in (stranger, weak):
        manager.close()


@pytest.mark.process
def test_pages_of_named_origins_may_ask_first_and_show_the_token_then(raw: Raw) -> None:
    preflight = raw.ask(
        "OPTIONS /add",
        "Origin: https://app.example",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization, content-type",
    )
    without = raw.ask("POST /ping", "Origin: https://app.example")
    shown = raw.ask("POST /ping", "Origin: https://app.example", bearer(API))
    foreign = raw.ask("OPTIONS /add", "Origin: null", "Access-Control-Request-Method: POST")

    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert (without.status, shown.status) == (401, 200)
    # so that the page can read why
    assert without.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-request-id" in shown.headers["access-control-expose-headers"].lower()
    assert foreign.status == 400
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.process
def test_the_documentation_is_served_with_the_token(raw: Raw) -> None:
    page = raw.ask("GET /docs", bearer(API))
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())

    assert page.status == 200
    assert len(sources) == 3
    for source in sources:
        assert raw.ask(f"GET {source}", bearer(API)).status == 200
        assert raw.ask(f"GET {source}").status == 401
    openapi = json.loads(raw.ask("GET /openapi.json", bearer(API)).body)
    assert openapi["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
    assert openapi["security"] == [{"token": []}]
    assert openapi["paths"]["/status"]["post"]["security"] == []
    assert "security" not in openapi["paths"]["/add"]["post"]


@pytest.mark.process
def test_a_token_is_in_no_log_repr_error_or_list_of_processes(
    each: Any, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    errors: list[ServiceError] = []
    for call in (lambda: each.fail(how="value"), lambda: each.fail(how="http")):
        with pytest.raises(ServiceError) as caught:
            call()
        errors.append(caught.value)
    raw.ask(f"GET /find?token={API}", bearer(ADMIN), "X-Request-ID: last-line")
    heard = ""

    def is_last() -> bool:
        nonlocal heard
        heard += capsys.readouterr().err
        return "last-line" in heard

    eventually(is_last)
    process = psutil.Process(each.process_id)
    texts = [heard, repr(each), str(each), *map(repr, errors), *map(str, errors)]
    texts += [str(vars(error)) for error in errors]
    texts += [Path(f"/proc/{each.process_id}/cmdline").read_text(encoding="utf-8")]
    texts += process.cmdline()
    assert not [text for text in texts if API in text or ADMIN in text]
