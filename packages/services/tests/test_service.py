"""A service as it is seen on the wire and in its log; one process for most of it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from services_support import (
    EachService,
    Pair,
    Raw,
    Sum,
    eventually,
    launched,
)

from mindtrace.core import TaskSchema
from mindtrace.jobs import Consumer
from mindtrace.services import (
    Heartbeat,
    RequestInvalidError,
    ServerStatus,
    Service,
    ServiceError,
    endpoint,
    generate_connection_manager,
)
from mindtrace.services.connection_manager import ConnectionManager
from mindtrace.services.generation import KEPT
from mindtrace.services.service import RESERVED, STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BODY = 10_000
THREADS = 3


# what a class may look like


def test_added_and_declared_endpoints_are_listed_with_the_standard_ones() -> None:
    service = EachService()

    assert set(service.endpoints) > STANDARD
    assert service.endpoints["add"].input_schema is Pair
    assert {"ping", "jobs_list_all", "add", "for_admins"} < set(service.endpoints)
    assert [each.name for each in service.table] == list(service.endpoints)


def add(pair: Pair) -> Sum:
    return Sum(total=pair.a + pair.b)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("/add", "/add", "has an endpoint 'add' already, at /add"),
        ("/a/b", "/a_b", "has an endpoint 'a_b' already, at /a/b"),
        ("/bout", "/about", "two methods 'about'"),
        ("/about", "/bout", "two methods 'about'"),
        ("/add", "/astatus", "two methods 'astatus'"),
        ("/add", "/server-id", "has an endpoint 'server_id' already, at /server_id"),
        ("/add", "/docs", "where the documentation is"),
        ("/add", "/openapi.json", "where the documentation is"),
        ("/add", "/docs/more", "where the documentation is"),
        *(("/add", f"/{name}", f"something called {name!r}") for name in sorted(RESERVED)),
        ("/add", "/call", "something called 'call'"),
    ],
)
def test_a_path_that_is_taken_is_refused(first: str, second: str, reason: str) -> None:
    service = Service()
    service.add_endpoint(first, add)

    with pytest.raises(ValueError, match=reason):
        service.add_endpoint(second, add)


def test_what_every_client_has_is_reserved_and_nothing_else() -> None:
    own = {each for each in dir(ConnectionManager()) if not each.startswith("_")}

    kept = {*KEPT, *(f"a{each}" for each in KEPT)}
    harmless = {"name", "unique_name", "config"}
    assert own - kept - harmless == RESERVED


def test_a_standard_endpoint_may_be_replaced() -> None:
    class Named(Service):
        @endpoint("/class_name", scope="open")
        def own_name(self) -> Sum:
            return Sum(total=1)

    (found,) = [each for each in Named().table if each.name == "class_name"]

    assert found.function().total == 1
    assert found.scope == "open"


def test_what_init_does_not_know_goes_to_the_next_class_in_line() -> None:
    class Named:
        def __init__(self, *, label: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.label = label

    class Both(Service, Named):
        pass

    assert Both(label="x").label == "x"
    with pytest.raises(TypeError, match="'unknown'"):
        Service(unknown=1)


class ConsumingService(Service, Consumer):
    """As the workers of a cluster are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_endpoint("/run", self.run, TaskSchema(name="run"))

    def run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        return {"ran": job_dict}


def test_a_service_can_be_a_consumer_and_only_connecting_has_two_meanings() -> None:
    def own(cls: type) -> set[str]:
        classes = [each for each in cls.__mro__ if each.__module__.endswith(cls.__module__)]
        return {name for each in classes for name in vars(each) if not name.startswith("__")}

    service, consumer = ConsumingService(), Consumer("queue")
    clashes = (own(Service) | set(vars(Service()))) & (own(Consumer) | set(vars(consumer)))

    assert clashes <= {"connect", "_abc_impl", "config"}
    assert service.job_type_name is None
    assert ConsumingService(job_type_name="queue").job_type_name == "queue"
    assert service.run({"x": 1}) == {"ran": {"x": 1}}


@pytest.mark.process
def test_a_service_that_is_a_consumer_serves() -> None:
    with launched(ConsumingService, job_type_name="queue") as worker:
        assert worker.run(id="1", payload={"x": 2}) == {"ran": {"id": "1", "payload": {"x": 2}}}


def test_the_class_says_where_it_is_unless_it_is_told() -> None:
    assert str(Service.default_url()) == "http://localhost:8000/"
    assert str(Service.build_url(host="127.0.0.1", port=9)) == "http://127.0.0.1:9/"
    assert str(Service(port=9).url) == "http://localhost:9/"
    with pytest.raises(ValueError, match="not both"):
        Service(url="http://localhost:1", port=2)


def test_an_endpoint_can_be_added_when_the_application_is_there_already() -> None:
    service = Service()
    before = service.app.openapi()["paths"]

    service.add_endpoint("/add", add)

    assert "/add" not in before
    assert "/add" in service.app.openapi()["paths"]


# a running service


@pytest.fixture(scope="module")
def each() -> Iterator[Any]:
    variables = {
        "MINDTRACE_SERVICES__MAX_BODY": str(MAX_BODY),
        "MINDTRACE_SERVICES__THREADS": str(THREADS),
        "MINDTRACE_LOGGER__LEVEL": "DEBUG",
        "MINDTRACE_LOGGER__FORMAT": "json",
    }
    with launched(EachService, variables) as manager:
        yield manager


@pytest.fixture
def raw(each: Any) -> Iterator[Raw]:
    with Raw(each.url) as connection:
        yield connection


@pytest.mark.process
def test_the_standard_endpoints_answer(each: Any) -> None:
    generated: Any = generate_connection_manager(EachService)(each.url)

    assert type(generated) is type(each)
    assert set(each.endpoints().endpoints) == set(EachService().endpoints)
    assert each.status().status is ServerStatus.AVAILABLE
    beat = each.heartbeat().heartbeat
    assert isinstance(beat, Heartbeat)
    assert (beat.status, beat.message) == (ServerStatus.AVAILABLE, "Heartbeat check successful.")
    assert beat.server_id == each.server_id().server_id == generated.server_id().server_id
    assert each.class_name().class_name == "EachService"
    with open(each.pid_file().pid_file, encoding="ascii") as file:  # noqa: PTH123
        assert int(file.read()) == each.process_id
    generated.close()


@pytest.mark.process
@pytest.mark.parametrize("path", ["/status", "/heartbeat"])
def test_health_can_be_asked_for_with_get_and_post(raw: Raw, path: str) -> None:
    got, posted = raw.ask(f"GET {path}"), raw.ask(f"POST {path}")

    assert (got.status, posted.status) == (200, 200)
    assert json.loads(got.body) == json.loads(posted.body)


@pytest.mark.process
@pytest.mark.parametrize("line", ["GET /pid_file", "GET /shutdown", "PUT /add", "POST /find"])
def test_other_methods_are_refused(raw: Raw, line: str) -> None:
    answer = raw.ask(line)

    assert answer.status == 405
    assert json.loads(answer.body)["error"]["message"] == "Method Not Allowed"


@pytest.mark.process
@pytest.mark.parametrize("path", ["/nothing", "/add/", "//add", "/ADD", "/add/../add", "/"])
def test_only_the_path_itself_is_the_path(raw: Raw, path: str) -> None:
    answer = raw.ask(f"POST {path}")

    assert answer.status == 404
    assert json.loads(answer.body)["error"] == {"type": "NotFound", "message": "Not Found"}


@pytest.mark.process
def test_plain_handlers_run_in_threads_and_async_ones_on_the_loop(each: Any) -> None:
    assert each.where().thread != "MainThread"
    assert each.where_on_the_loop().thread == "MainThread"


@pytest.mark.process
def test_plain_handlers_share_a_bounded_pool_while_the_loop_goes_on(each: Any) -> None:
    with ThreadPoolExecutor(4 * THREADS) as pool:
        calls = [pool.submit(each.hold) for _ in range(4 * THREADS)]
        eventually(lambda: each.held().now == THREADS)
        assert each.status().status is ServerStatus.AVAILABLE
        assert each.add_on_the_loop(a=1, b=2).total == 3
        each.release()
        for call in calls:
            call.result()

    assert each.held().most == THREADS


@pytest.mark.process
def test_every_method_and_shape_of_path_comes_through(each: Any) -> None:
    assert each.put(a=1, b=2) == Sum(total=3)
    assert each.jobs_list_all() == {"jobs": ["one"]}
    assert each.made()["process"] == each.process_id
    assert each.ping() is None
    for value in (None, 1, "text", [1, [2]], {"a": {"b": None}}):
        assert each.anything(value) == value
    assert each.anything(a=1) == {"a": 1}


@pytest.mark.process
@pytest.mark.parametrize("name", ["find", "remove"])
@pytest.mark.parametrize(
    "search",
    [
        {"word": "x"},
        {"word": "", "tags": ["a", "b,c", "d&e=f", "ü ☃"], "limit": 0, "exact": True},
        {"word": "a+b %20", "tags": [], "limit": None},
    ],
)
def test_an_input_travels_in_the_query_string(each: Any, name: str, search: Any) -> None:
    found = getattr(each, name)(**search)

    assert found.model_dump() == {"tags": [], "limit": None, "exact": False} | search


# bodies


@pytest.mark.process
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_and_the_connection_goes_on(
    raw: Raw, chunked: bool
) -> None:
    body = json.dumps({"a": 1, "pad": "x" * MAX_BODY}).encode()
    headers = ["POST /add HTTP/1.1", f"Host: {raw.name}", "Content-Type: application/json"]
    if chunked:
        parts = (body[at : at + 1000] for at in range(0, len(body), 1000))
        sent = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        raw.send(*headers, "Transfer-Encoding: chunked", b"", body=sent)
    else:
        raw.send(*headers, f"Content-Length: {len(body)}", b"", body=body)

    answer = raw.answer()
    again = raw.ask("POST /add", "Content-Type: application/json", body=b'{"a": 1, "b": 2}')

    assert answer.status == 413
    assert f"more than {MAX_BODY} bytes" in json.loads(answer.body)["error"]["message"]
    assert answer.headers["x-request-id"] == json.loads(answer.body)["request_id"]
    assert json.loads(again.body) == {"total": 3}


@pytest.mark.process
def test_a_body_of_just_the_limit_passes(raw: Raw) -> None:
    body = json.dumps({"a": 1}).encode().ljust(MAX_BODY)

    assert raw.ask("POST /add", "Content-Type: application/json", body=body).status == 200


@pytest.mark.process
def test_a_body_that_only_promises_to_be_large_is_refused_before_it_comes(raw: Raw) -> None:
    raw.send("POST /add HTTP/1.1", f"Host: {raw.name}", "Content-Length: 1000000000", b"")

    assert raw.answer().status == 413


@pytest.mark.process
@pytest.mark.parametrize("length", ["-1", "+5", "5_0", "0x5", "many", "", "5, 5", "9" * 50])
def test_a_length_that_is_no_number_is_refused(raw: Raw, length: str) -> None:
    raw.send("POST /add HTTP/1.1", f"Host: {raw.name}", f"Content-Length: {length}", b"")

    assert raw.answer().status in (400, 413)


@pytest.mark.process
def test_two_ways_to_measure_a_body_are_refused(raw: Raw) -> None:
    raw.send(
        "POST /add HTTP/1.1",
        f"Host: {raw.name}",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        b"",
    )

    assert raw.answer().status == 400


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"\xff"),
        ("application/json", b""),
        ("application/json", b"[" * 5000),
        ("application/json", b"1" * 5000),
        ("text/plain", b'{"a": 1}'),
        ("application/x-www-form-urlencoded", b"a=1"),
        ("multipart/form-data", b"a=1"),
    ],
)
def test_what_is_no_json_is_the_callers_fault(raw: Raw, kind: str, body: bytes) -> None:
    answer = raw.ask("POST /add", f"Content-Type: {kind}", body=body)

    assert answer.status in (400, 422)
    assert set(json.loads(answer.body)) >= {"error", "request_id"}


# the id of a request


@pytest.mark.process
def test_the_callers_id_is_taken_and_handed_back(raw: Raw) -> None:
    answer = raw.ask("POST /where", "X-Request-ID: my/id=7")

    assert answer.headers["x-request-id"] == "my/id=7"
    assert json.loads(answer.body)["request_id"] == "my/id=7"


@pytest.mark.process
@pytest.mark.parametrize("given", ["", "a b", "ü", "x" * 129])
def test_an_id_that_could_spoil_a_log_is_replaced(raw: Raw, given: str) -> None:
    answer = raw.ask("POST /where", f"X-Request-ID: {given}".encode())

    found = answer.headers["x-request-id"]
    assert found
    assert found != given.strip()
    assert json.loads(answer.body)["request_id"] == found


@pytest.mark.process
def test_the_space_around_an_id_is_none_of_it(raw: Raw) -> None:
    answer = raw.ask("POST /where", b'X-Request-ID: \t"')

    assert answer.headers["x-request-id"] == '"'
    assert json.loads(answer.body)["request_id"] == '"'


@pytest.mark.process
def test_each_request_gets_an_id_of_its_own(raw: Raw) -> None:
    ids = [raw.ask(line).headers["x-request-id"] for line in ("POST /add", "GET /x", "GET /status")]

    assert len(set(ids)) == 3


@pytest.mark.process
@pytest.mark.parametrize("path", ["/where", "/where_on_the_loop"])
def test_every_line_that_is_logged_meanwhile_has_the_id(
    raw: Raw, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own_id = f"id-of{path}"
    raw.ask(f"POST {path}", f"X-Request-ID: {own_id}")

    heard = ""

    def lines() -> list[dict[str, Any]]:
        nonlocal heard
        heard += capsys.readouterr().err
        whole = [json.loads(line) for line in heard.split("\n")[:-1] if own_id in line]
        return whole if len(whole) == 2 else []

    handled, measured = eventually(lines)
    assert handled["message"].startswith("handled ")
    assert measured["message"] == f"POST {path} -> 200"
    assert measured["duration"] > 0
    assert {handled["request_id"], measured["request_id"]} == {own_id}


@pytest.mark.process
def test_a_path_cannot_forge_a_line_of_the_log(
    raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    raw.ask("POST /x%0aFORGED?token=sesame", "X-Request-ID: forger")
    heard = ""

    def line() -> str:
        nonlocal heard
        heard += capsys.readouterr().err
        return next((each for each in heard.split("\n")[:-1] if "forger" in each), "")

    assert json.loads(eventually(line))["message"] == "POST /x%0AFORGED -> 404"
    assert "sesame" not in heard


@pytest.mark.process
@pytest.mark.parametrize("path", ["/relay", "/relay_on_the_loop"])
def test_the_id_goes_along_when_a_handler_calls_another_service(
    each: Any, raw: Raw, path: str
) -> None:
    body = json.dumps({"url": str(each.url)}).encode()

    answer = raw.ask(
        f"POST {path}", "X-Request-ID: passed-on", "Content-Type: application/json", body=body
    )

    assert json.loads(answer.body)["request_id"] == "passed-on"


# what goes wrong


@pytest.mark.process
@pytest.mark.parametrize("name", ["fail", "fail_on_the_loop"])
@pytest.mark.parametrize(
    ("how", "status", "kind", "message"),
    [
        ("value", 500, "ValueError", "it is wrong"),
        ("exit", 500, "SystemExit", "3"),
        ("interrupt", 500, "KeyboardInterrupt", ""),
        ("cancelled", 500, "CancelledError", ""),
        ("generator", 500, "GeneratorExit", ""),
        ("http", 409, "HTTPException", "taken already"),
        ("http_dict", 409, "HTTPException", "{'owner': 'somebody'}"),
        ("unauthorized", 401, "HTTPException", "not you"),
        ("silent", 500, "_Silent", "its own message failed"),
        ("surrogate", 500, "ValueError", "half a character: ?"),
        (
            "output",
            500,
            "InvalidOutput",
            "the service's answer does not fit its own schema: response.total: Field required",
        ),
    ],
)
def test_what_a_handler_raises_is_told_to_the_caller_alone(
    each: Any, name: str, how: str, status: int, kind: str, message: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        getattr(each, name)(how=how)

    error = caught.value
    assert (error.status, error.remote_type, error.remote_message) == (status, kind, message)
    assert error.request_id
    assert each.add(a=1, b=2) == Sum(total=3)


@pytest.mark.process
def test_an_answer_without_content_is_none(each: Any) -> None:
    assert each.fail(how="empty") is None


@pytest.mark.process
def test_headers_of_an_exception_are_sent(raw: Raw) -> None:
    answer = raw.ask(
        "POST /fail", "Content-Type: application/json", body=b'{"how": "unauthorized"}'
    )

    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.process
def test_what_is_wrong_with_an_input_is_told_without_the_input(each: Any, raw: Raw) -> None:
    login = {"user": ["sesame"], "password": "ses"}
    answer = raw.ask(
        "POST /login", "Content-Type: application/json", body=json.dumps(login).encode()
    )
    with pytest.raises(RequestInvalidError) as caught:
        each.login(**login, validate_input=False)

    assert answer.status == 422
    for text in (answer.body.decode(), str(caught.value), repr(caught.value)):
        assert "ses" not in text.replace("message", "")
    assert [each["loc"] for each in caught.value.details] == [
        ["body", "user"],
        ["body", "password"],
    ]
    assert "password: Value error, too short" in str(caught.value)


@pytest.mark.process
def test_what_fails_outside_of_a_handler_is_answered_in_the_same_form() -> None:
    with launched(BrokenService) as broken, pytest.raises(ServiceError) as caught:
        broken.odd()

    assert (caught.value.status, caught.value.remote_type) == (500, "PydanticSerializationError")
    assert caught.value.request_id


class Odd(BaseModel):
    what: object


class BrokenService(Service):
    @endpoint("/odd")
    def odd(self) -> Odd:
        """Return what no JSON can hold."""
        return Odd(what=threading.Lock())
