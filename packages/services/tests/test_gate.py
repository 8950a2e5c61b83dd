"""The gate before an application that is none of ours, with what our server never lets through."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mindtrace.services import ServicesSettings
from mindtrace.services.gate import Gate, text_of
from mindtrace.services.guard import Guard
from mindtrace.services.request_id import accepted, request_id

if TYPE_CHECKING:
    from collections.abc import Callable

Headers = list[tuple[bytes, bytes]]
HOST: Headers = [(b"host", b"localhost")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if body == b"raise":
        raise LookupError(body.decode())
    headers = [(b"x-request-id", b"of the application"), (b"x-other", b"kept")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if body == b"half":
        raise LookupError(body.decode())
    await send({"type": "http.response.body", "body": request_id.get().encode()})


def ask(
    *parts: bytes, headers: Headers = HOST, limits: Callable[[str], bool] = bool, **more: Any
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request through the gate, and return status, headers and body of the answer."""
    messages = [
        {"type": "http.request", "body": part, "more_body": at < len(parts)}
        for at, part in enumerate(parts, 1)
    ] or [{"type": "http.request", "body": b""}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "scheme": "http",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        **more,
    }
    gate = Gate(
        app,
        Guard(ServicesSettings(), "localhost", {}),
        10,
        limits,
        logging.getLogger("mindtrace.x"),
    )
    asyncio.run(gate(scope, receive, send))
    start, *rest = sent
    body = b"".join(each["body"] for each in rest)
    return start["status"], dict(start["headers"]), body


def test_the_id_is_ours_and_the_other_headers_are_the_applications() -> None:
    status, headers, body = ask(headers=[*HOST, (b"x-request-id", b"mine")])

    assert (status, body) == (200, b"mine")
    assert headers == {b"x-other": b"kept", b"x-request-id": b"mine"}
    assert request_id.get() == ""


@pytest.mark.parametrize("length", [b"-1", b"+1", b"1_0", b" 1", b"\xb2", b"", b"x"])
def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    assert ask(headers=[*HOST, (b"content-length", length)])[0] == 400


@pytest.mark.parametrize(("length", "status"), [(b"10", 200), (b"11", 413), (b"9" * 60, 413)])
def test_a_length_above_the_limit_is_refused(length: bytes, status: int) -> None:
    assert ask(b"12345", headers=[*HOST, (b"content-length", length)])[0] == status


def test_a_body_without_a_length_is_counted() -> None:
    assert ask(b"12345", b"12345")[0] == 200
    assert ask(b"12345", b"123456")[0] == 413
    assert ask(b"12345", b"123456", limits=lambda _: False)[0] == 200


def test_an_exception_is_answered_unless_the_answer_has_begun() -> None:
    status, headers, body = ask(b"raise", headers=[*HOST, (b"x-request-id", b"mine")])

    assert status == 500
    assert headers[b"x-request-id"] == b"mine"
    assert json.loads(body) == {
        "error": {"type": "LookupError", "message": "raise"},
        "request_id": "mine",
    }
    with pytest.raises(LookupError):
        ask(b"half")


@pytest.mark.parametrize("name", [b"host", b"origin", b"authorization", b"content-length"])
def test_what_may_be_there_once_is_refused_twice(name: bytes) -> None:
    rest = [each for each in HOST if each[0] != name]

    assert ask(headers=[*rest, (name, b"0"), (name, b"0")])[0] in (400, 403)
    assert ask(headers=[*HOST, (b"x-request-id", b"a"), (b"x-request-id", b"b")])[0] == 200


def test_a_caller_without_an_address_does_not_stop_the_service() -> None:
    assert ask(path="/shutdown")[0] == 200
    assert ask(path="/shutdown", client=None)[0] == 403
    assert ask(path="/shutdown\n", client=None)[0] == 403
    assert ask(path="/x", client=None, server=None)[0] == 200


def test_a_web_socket_is_closed_when_a_request_would_be_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/x", "scheme": "ws", "headers": []}
    gate = Gate(app, Guard(ServicesSettings(), "x", {}), 10, bool, logging.getLogger())
    asyncio.run(gate(scope, send, send))  # type: ignore[arg-type]

    assert [each["type"] for each in sent] == ["websocket.close"]
    assert sent[0]["code"] == 1008


@pytest.mark.parametrize("given", [b"x", b"a/b=c\"'", b"~" * 128])
def test_an_id_of_visible_characters_is_taken(given: bytes) -> None:
    assert accepted(given) == given.decode()


@pytest.mark.parametrize("given", [None, b"", b"a b", b"a\nb", b"\xff", b"~" * 129, b"\x00"])
def test_another_one_is_replaced_by_one_that_is_new(given: bytes | None) -> None:
    first, second = accepted(given), accepted(given)

    assert first != second
    assert accepted(first.encode()) == first


def test_an_exception_that_cannot_speak_is_spoken_for() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert text_of(MuteError()) == "its own message failed"
    assert text_of(ValueError("\ud800")) == "?"
    assert text_of(KeyError("x")) == "'x'"
