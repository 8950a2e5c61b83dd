from __future__ import annotations

import hashlib
import json
import threading
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any

import pytest
from gateway_support import MEBIBYTE, PIECE, OddApp, ask, asking, free_port, peak_memory
from services_support import DEADLINE, Raw, environment, eventually, launched

from mindtrace.services import Gateway
from mindtrace.services.gateway.paths import BadPathError, split
from mindtrace.services.samples.echo_service import EchoService

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.fixture(scope="module")
def app_of_module() -> Iterator[OddApp]:
    with OddApp() as app:
        yield app


@pytest.fixture
def app(app_of_module: OddApp) -> Iterator[OddApp]:
    app_of_module.forget()
    yield app_of_module
    app_of_module.go.set()


@pytest.fixture(scope="module")
def gateway(app_of_module: OddApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = str(tmp_path_factory.mktemp("root"))
    with environment(MINDTRACE_DIR_PATHS__ROOT=root), launched(Gateway) as front:
        front.register_app("odd", app_of_module.url)
        front.register_app("hasty", app_of_module.url, timeout=3)
        front.register_app("deep", f"{app_of_module.url}/v1/api/")
        front.register_app("away", f"http://127.0.0.1:{free_port()}")
        front.register_app("unknown_host", "http://no-such-host.invalid")
        front.register_app("not_tls", app_of_module.url.replace("http:", "https:"))
        yield front


def error_of(body: bytes) -> tuple[str, str]:
    found = json.loads(body)
    assert found["request_id"]
    return found["error"]["type"], found["error"]["message"]


# requests


@pytest.mark.parametrize("method", METHODS)
def test_any_method_goes_through_with_its_body(gateway: Any, app: OddApp, method: str) -> None:
    status, headers, body = ask(gateway.url, method, "/odd/reflect", body=b"\x00\xff")

    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"method": method, "target": "/reflect", "body": "\x00\xff"}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/odd/reflect?a=1&a=2&b=%20+&c", "/reflect?a=1&a=2&b=%20+&c"),
        ("/odd/reflect?x=../..", "/reflect?x=../.."),
        ("/odd", "/"),
        ("/odd/", "/"),
        ("/odd?q", "/?q"),
        ("/odd//reflect", "//reflect"),
        ("/odd/a%2Fb%20c/%E2%82%AC/./reflect", "/a%2Fb%20c/%E2%82%AC/./reflect"),
        ("/odd/a;v=1,2/~x/reflect...", "/a;v=1,2/~x/reflect..."),
        ("/odd/http://other.test/reflect", "/http://other.test/reflect"),
        ("/%6fdd/reflect", "/reflect"),
        ("/deep", "/v1/api"),
        ("/deep/", "/v1/api/"),
        ("/deep/reflect?z", "/v1/api/reflect?z"),
    ],
)
def test_a_path_goes_through_as_it_is_written(
    gateway: Any, app: OddApp, path: str, target: str
) -> None:
    status, _, _ = ask(gateway.url, "GET", path)

    assert (status, app.last().target) == (200, target)


@pytest.mark.parametrize(
    "path",
    [
        "/odd/../registered_apps",
        "/odd/..",
        "/deep/%2e%2e/secret",
        "/deep/%2E./secret",
        "/deep/x/..%2fsecret",
        "/deep/x/..%5Csecret",
        "/deep/x\\..\\secret",
        "/deep/..;a=b/secret",
        "/deep/%2e%2e%3Ba/secret",
    ],
)
def test_a_path_that_leads_out_of_the_app_is_refused(gateway: Any, app: OddApp, path: str) -> None:
    with Raw(gateway.url) as raw:
        answer = raw.ask(f"GET {path}")

    assert answer.status == 400
    assert error_of(answer.body)[0] == "BadPath"
    assert app.asked == []


@pytest.mark.parametrize("path", ["/", "/nobody/x", "//odd/x", "/odd%2Freflect", "/Odd/x"])
def test_what_is_no_registered_app_is_not_found_and_no_names_are_told(
    gateway: Any, app: OddApp, path: str
) -> None:
    with Raw(gateway.url) as raw:
        answer = raw.ask(f"GET {path}")

    assert answer.status == 404
    kind, message = error_of(answer.body)
    assert (kind, "no app is registered" in message) == ("NotFound", True)
    assert "hasty" not in message
    assert app.asked == []


@pytest.mark.parametrize(
    ("path", "query"), [(b"/odd/a\r\nb", b""), (b"/odd/x", b"a b"), (b"/odd/\x7f", b"")]
)
def test_what_could_become_another_request_is_refused_whatever_server_is_in_front(
    path: bytes, query: bytes
) -> None:
    with pytest.raises(BadPathError, match="have to be written with %"):
        split(path, query)


def test_headers_about_one_connection_stay_on_it(gateway: Any, app: OddApp) -> None:
    with Raw(gateway.url) as raw:
        answer = raw.ask(
            "GET /odd/reflect",
            "Connection: X-Mine, keep-alive, Content-Type",
            "X-Mine: 1",
            "Content-Type: text/x",
            "Keep-Alive: timeout=9",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic abc",
            "TE: trailers",
            "Trailer: X-Sum",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "X-Twice: a",
            "X-Twice: b",
            "Accept: */*",
        )

    assert answer.status == 200
    names = {name for name, _ in app.last().headers}
    forwarded = {"for", "proto", "host", "prefix"}
    added = {"host", "via", "x-request-id", *(f"x-forwarded-{each}" for each in forwarded)}
    assert names - added == {"x-twice", "accept"}
    assert app.last().all("x-twice") == ["a", "b"]


def test_an_app_learns_who_asks_and_how_and_not_what_callers_pretend(
    gateway: Any, app: OddApp
) -> None:
    port = gateway.url.port
    with Raw(gateway.url, host="127.0.0.1") as raw:
        raw.ask(
            "GET /deep/reflect",
            "X-Forwarded-Host: bank.test",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Prefix: /x",
            "X-Real-IP: 1.2.3.4",
            "Forwarded: for=1.2.3.4",
            "X-Request-Id: my-own-id",
        )

    seen = app.last()
    assert seen.all("host") == [f"127.0.0.1:{app.port}"]
    assert seen.all("x-forwarded-for") == ["127.0.0.1"]
    assert seen.all("x-forwarded-proto") == ["http"]
    assert seen.all("x-forwarded-host") == [f"localhost:{port}"]
    assert seen.all("x-forwarded-prefix") == ["/deep"]
    assert seen.all("x-request-id") == ["my-own-id"]
    assert (seen.one("x-real-ip"), seen.one("forwarded")) == (None, None)


def test_an_app_takes_a_page_of_the_gateway_for_its_own(gateway: Any, app: OddApp) -> None:
    origin = str(gateway.url).rstrip("/")
    ask(gateway.url, "GET", "/odd/reflect", headers={"Origin": origin})

    assert app.last().all("origin") == [app.url]


def test_one_request_id_is_in_the_answer_and_at_the_app(gateway: Any, app: OddApp) -> None:
    _, headers, _ = ask(gateway.url, "GET", "/odd/reflect")

    assert app.last().all("x-request-id") == [headers["x-request-id"]]


def test_a_body_without_a_length_goes_through_as_it_comes(gateway: Any, app: OddApp) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        # the app has the first piece before the second one is sent
        assert app.go.wait(DEADLINE)
        yield b"second"
        yield b"third"

    status, _, body = ask(gateway.url, "POST", "/odd/slow_body", body=pieces())

    assert (status, body) == (200, b"first|secondthird")
    assert app.last().all("transfer-encoding") == ["chunked"]
    assert app.last().one("content-length") is None


def test_an_empty_body_without_a_length_ends(gateway: Any, app: OddApp) -> None:
    status, _, body = ask(gateway.url, "POST", "/odd/reflect", body=iter(()))

    assert (status, json.loads(body)["body"]) == (200, "")


def test_a_caller_that_asks_before_it_sends_is_told_to_go_on(gateway: Any, app: OddApp) -> None:
    with Raw(gateway.url) as raw:
        raw.send(
            "POST /odd/reflect HTTP/1.1", f"Host: {raw.name}", "Expect: 100-continue",
            "Content-Length: 2", "",
        )  # fmt: skip
        interim = raw.answer()
        raw.socket.sendall(b"ab")
        answer = raw.answer()

    assert (interim.status, answer.status) == (100, 200)
    assert app.last().one("expect") is None


def test_a_large_upload_goes_through_whole_in_little_memory(gateway: Any, app: OddApp) -> None:
    block = bytes(range(256)) * (PIECE // 256)
    count = 50 * MEBIBYTE // PIECE
    before = peak_memory(gateway.process_id)

    status, _, body = ask(
        gateway.url,
        "PUT",
        "/odd/sink",
        body=(block for _ in range(count)),
        headers={"Content-Length": str(count * PIECE)},
    )

    assert status == 201
    digest = hashlib.sha256(block * count).hexdigest()
    assert body.decode() == f"{count * PIECE} {digest}"
    assert peak_memory(gateway.process_id) - before < 15 * MEBIBYTE


def test_a_large_download_waits_for_a_slow_reader_and_not_in_memory(
    gateway: Any, app: OddApp
) -> None:
    size = 50 * MEBIBYTE
    before = peak_memory(gateway.process_id)

    with asking(gateway.url, "GET", f"/odd/fountain?{size}") as answer:
        first = answer.read(1)
        # while nobody reads, the gateway answers others and takes in no more than a little
        for _ in range(20):
            assert gateway.heartbeat()
        rest = sum(len(piece) for piece in iter(lambda: answer.read(PIECE), b""))

    assert len(first) + rest == size
    assert answer.getheader("content-type") == "application/x-water"
    assert peak_memory(gateway.process_id) - before < 15 * MEBIBYTE


# answers


def test_events_arrive_one_by_one(gateway: Any, app: OddApp) -> None:
    with asking(gateway.url, "GET", "/odd/events") as answer:
        assert answer.getheader("content-type") == "text/event-stream"
        assert answer.readline() + answer.readline() == b"data: one\n\n"
        app.go.set()  # the second one is sent only now
        assert answer.read() == b"data: two\n\n"


def test_an_app_may_answer_while_it_still_reads(gateway: Any, app: OddApp) -> None:
    size = 8 * MEBIBYTE  # more than fits into all buffers on the way there and back
    answers: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(size // PIECE):
            yield b"x" * PIECE

    with Raw(gateway.url) as raw:
        raw.send("POST /odd/duplex HTTP/1.1", f"Host: {raw.name}", f"Content-Length: {size}", "")
        reader = threading.Thread(target=lambda: answers.append(_read_chunks(raw)))
        reader.start()
        for each in pieces():
            raw.socket.sendall(each)
        reader.join(DEADLINE)

    assert answers == [b"X" * size]


def _read_chunks(raw: Raw) -> bytes:
    with raw.socket.makefile("rb") as file:
        while file.readline().strip():
            pass
        body = b""
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        return body


def test_an_app_may_refuse_a_body_without_reading_it(gateway: Any, app: OddApp) -> None:
    with Raw(gateway.url) as raw:
        raw.send("POST /odd/early HTTP/1.1", f"Host: {raw.name}", f"Content-Length: {10**9}", "")
        raw.socket.sendall(b"x" * PIECE)
        answer = raw.answer()

    assert (answer.status, answer.body) == (413, b"enough")


def test_chunks_come_whole_without_extensions_and_trailers(gateway: Any, app: OddApp) -> None:
    with asking(gateway.url, "GET", "/odd/trailers") as answer:
        assert answer.read() == b"hello world"
    assert answer.getheader("transfer-encoding") == "chunked"
    assert answer.getheader("trailer") is None


@pytest.mark.parametrize(
    ("method", "word", "status", "body", "headers"),
    [
        ("GET", "teapot", 418, b"\x00\xff short", {"content-type": "application/x-tea"}),
        ("GET", "packed", 200, b"\x1f\x8b not really", {"content-encoding": "gzip"}),
        ("GET", "no_content", 204, b"", {"x-left": "nothing"}),
        ("GET", "not_modified", 304, b"", {"etag": '"1"'}),
        ("GET", "away", 307, b"", {"location": "http://elsewhere.test/x?y#z"}),
        ("GET", "hints", 200, b"after the hints", {}),
        ("GET", "until_close", 200, b"up to the end", {"content-type": "text/odd"}),
        ("HEAD", "measured", 200, b"", {"content-length": "1234"}),
    ],
)
def test_an_answer_comes_back_unchanged_and_the_next_one_too(
    gateway: Any,
    app: OddApp,
    method: str,
    word: str,
    status: int,
    body: bytes,
    headers: dict[str, str],
) -> None:
    connection = HTTPConnection("localhost", gateway.url.port, timeout=DEADLINE)
    for _ in range(3):  # on one connection: that an answer has ended is seen by the next one
        connection.request(method, f"/odd/{word}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, body)
        found = {name.lower(): value for name, value in answer.getheaders()}
        assert found | headers == found
    connection.close()


def test_headers_of_an_answer_about_one_connection_stay_on_it(gateway: Any, app: OddApp) -> None:
    with asking(gateway.url, "GET", "/odd/headers") as answer:
        found = [(name.lower(), value) for name, value in answer.getheaders()]

    dates = [value for name, value in found if name == "date"]
    assert len(dates) == 1
    assert [each for each in found if each[0] not in {"date", "x-request-id"}] == [
        ("content-length", "0"),
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "b=2"),
        ("server", "odd/1.0"),
        ("x-kept", "yes"),
    ]


def test_connections_to_an_app_are_kept_and_used_again(gateway: Any, app: OddApp) -> None:
    before = app.connections
    with Raw(gateway.url) as raw:
        for _ in range(20):
            assert raw.ask("GET /odd/reflect").status == 200

    assert app.connections - before <= 1


# what goes wrong


@pytest.mark.parametrize(
    ("name", "expected", "said"),
    [
        ("away", 502, "does not take connections (nothing listens there)"),
        ("unknown_host", 502, "does not take connections"),
        ("not_tls", 504, "did not take a connection within 5 s"),
    ],
)
def test_an_app_that_is_away_makes_a_clear_error(
    gateway: Any, app: OddApp, name: str, expected: int, said: str
) -> None:
    status, headers, body = ask(gateway.url, "POST", f"/{name}/x", body=b"x")

    assert (status, headers["content-type"]) == (expected, "application/json")
    kind, message = error_of(body)
    assert kind == "AppUnavailable"
    assert message.startswith(f"the app {name!r} {said}")
    assert "may have" not in message
    assert str(app.port) not in message


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nothing", "closed the connection before it answered"),
        ("garbage", "gave an answer that is no HTTP"),
        ("switch", "gave an answer that is no HTTP"),
        ("long_head", "gave an answer that is no HTTP"),
    ],
)
def test_an_app_that_gives_no_answer_makes_a_502_that_says_that_it_may_have_acted(
    gateway: Any, app: OddApp, word: str, said: str
) -> None:
    status, _, body = ask(gateway.url, "POST", f"/odd/{word}", body=b"x")

    assert status == 502
    kind, message = error_of(body)
    assert kind == "AppUnavailable"
    assert message.startswith(f"the app 'odd' {said}")
    assert message.endswith("it may have done what it was asked for")


def test_an_app_that_is_silent_for_too_long_makes_a_504(gateway: Any, app: OddApp) -> None:
    status, _, body = ask(gateway.url, "POST", "/hasty/silent", body=b"x")

    assert status == 504
    assert error_of(body) == (
        "AppTimeout",
        "the app 'hasty' was silent for 3 s; it may have done what it was asked for",
    )
    assert app.lost.wait(DEADLINE)


def test_an_app_is_not_blamed_for_a_caller_that_sends_slowly(gateway: Any, app: OddApp) -> None:
    silent = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        silent.wait(9)  # three times what the app may be silent
        yield b"second"

    status, _, body = ask(gateway.url, "POST", "/hasty/reflect", body=pieces())

    assert (status, json.loads(body)["body"]) == (200, "firstsecond")


@pytest.mark.parametrize("path", ["/odd/cut", "/odd/cut_chunks", "/hasty/half_silent"])
def test_an_answer_that_is_cut_off_does_not_look_whole(
    gateway: Any, app: OddApp, path: str
) -> None:
    with asking(gateway.url, "GET", path) as answer:
        assert answer.status == 200
        with pytest.raises((IncompleteRead, ConnectionError)):
            answer.read()


def test_a_caller_that_goes_away_ends_the_answer_at_the_app(gateway: Any, app: OddApp) -> None:
    with asking(gateway.url, "GET", "/odd/endless") as answer:
        assert answer.read(4) == b"more"

    assert app.lost.wait(DEADLINE)


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_a_caller_that_does_not_wait_for_the_answer_ends_the_request_at_the_app(
    gateway: Any, app: OddApp, sent: bytes
) -> None:
    with Raw(gateway.url) as raw:
        raw.send(
            "POST /odd/silent HTTP/1.1",
            f"Host: {raw.name}",
            f"Content-Length: {len(sent)}",
            "",
            body=sent,
        )
        eventually(lambda: app.asked)

    assert app.lost.wait(DEADLINE)


def test_a_caller_that_goes_away_in_the_middle_of_its_body_ends_the_request_at_the_app(
    gateway: Any, app: OddApp
) -> None:
    with Raw(gateway.url) as raw:
        raw.send("POST /odd/slow_body HTTP/1.1", f"Host: {raw.name}", "Content-Length: 100", "")
        raw.socket.sendall(b"half")
        assert app.go.wait(DEADLINE)

    # the app's reading fails, so it never answers; the gateway is well
    assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_the_app_closed_meanwhile_is_not_used(
    gateway: Any, app: OddApp, method: str
) -> None:
    for _ in range(5):
        assert ask(gateway.url, method, "/odd/reflect")[0] == 200
        app.drop_connections()
        eventually(lambda: not app._writers)


@pytest.mark.parametrize(
    ("method", "last", "turns"), [("GET", 200, [1, 2, 1]), ("POST", 502, [1, 2])]
)
def test_what_is_lost_on_a_connection_that_was_good_is_sent_again_only_where_that_is_safe(
    gateway: Any, app: OddApp, method: str, last: int, turns: list[int]
) -> None:
    app.drop_connections()
    eventually(lambda: not app._writers)

    found = [ask(gateway.url, method, "/odd/fickle")[0] for _ in range(2)]

    assert found == [200, last]
    assert [each.turn for each in app.asked] == turns


def test_websockets_are_refused(gateway: Any, app: OddApp) -> None:
    with Raw(gateway.url) as raw:
        answer = raw.ask(
            "GET /odd/reflect",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )

    # without a library for them the server takes it for a plain request
    assert answer.status in {200, 403}
    assert all(each.one("upgrade") is None for each in app.asked)


def test_an_app_that_leads_back_to_the_gateway_ends_the_loop(gateway: Any, app: OddApp) -> None:
    gateway.register_app("loop", f"{gateway.url}loop")

    status, _, body = ask(gateway.url, "GET", "/loop/x")

    assert status == 508
    assert error_of(body) == (
        "LoopDetected",
        "the app 'loop' leads back to this gateway, without end",
    )


def test_many_callers_at_the_same_time_get_their_own_answers(gateway: Any, app: OddApp) -> None:
    wrong: list[str] = []

    def caller(number: int) -> None:
        with Raw(gateway.url) as raw:
            for turn in range(25):
                body = f"{number}/{turn}".encode()
                answer = raw.ask("POST /odd/reflect", body=body)
                if json.loads(answer.body)["body"].encode() != body:
                    wrong.append(f"{body!r}: {answer}")

    threads = [threading.Thread(target=caller, args=(each,)) for each in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert wrong == []


def test_the_limit_of_a_body_is_that_of_the_app_and_not_of_the_gateway(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = str(tmp_path_factory.mktemp("root"))
    large = b'{"message": "%b"}' % (b"x" * 3000)
    with (
        OddApp() as odd,
        environment(MINDTRACE_DIR_PATHS__ROOT=root, MINDTRACE_SERVICES__MAX_BODY="2000"),
        launched(Gateway) as gateway,
        launched(EchoService) as echo,
    ):
        gateway.register_app("odd", odd.url)
        gateway.register_app("echo", echo.url)
        json_type = {"Content-Type": "application/json"}

        assert ask(gateway.url, "POST", "/odd/sink", body=large)[0] == 201
        refused = ask(gateway.url, "POST", "/echo/echo", body=large, headers=json_type)
        own = ask(gateway.url, "POST", "/register_app", body=large, headers=json_type)

    assert refused[0] == 413
    assert own[0] == 413


def test_stopping_finishes_what_is_under_way(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = str(tmp_path_factory.mktemp("root"))
    with OddApp() as odd, environment(MINDTRACE_DIR_PATHS__ROOT=root), launched(Gateway) as gateway:
        gateway.register_app("odd", odd.url)
        with asking(gateway.url, "GET", "/odd/events") as answer:
            assert answer.readline() == b"data: one\n"
            gateway.shutdown(block=False)
            odd.go.set()
            assert answer.read() == b"\ndata: two\n\n"


def test_a_gateway_that_is_killed_leaves_no_connection_at_the_app(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = str(tmp_path_factory.mktemp("root"))
    with OddApp() as odd, environment(MINDTRACE_DIR_PATHS__ROOT=root), launched(Gateway) as gateway:
        gateway.register_app("odd", odd.url)
        with asking(gateway.url, "GET", "/odd/endless") as answer:
            assert answer.read(4) == b"more"
            gateway._child.process.kill()
            with pytest.raises((IncompleteRead, RemoteDisconnected, ConnectionError)):
                answer.read()
        assert odd.lost.wait(DEADLINE)
        eventually(lambda: not odd._writers)
