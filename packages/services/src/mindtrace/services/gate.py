"""`Gate`: what every request passes first. It gets an id, is let in or refused, and is measured."""

from __future__ import annotations

import json
from logging import DEBUG
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.exceptions import HTTPException

from mindtrace.core.log import log_context
from mindtrace.services.guard import Caller, Guard, Refusal
from mindtrace.services.request_id import HEADER, accepted, request_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NEEDED = frozenset({b"host", b"origin", b"authorization", b"content-length", HEADER})


class Gate:
    """An ASGI application before another one.

    Args:
        app: What answers the requests that are let in.
        guard: Who decides.
        max_body: The most bytes of a body.
        is_limited: Tells for a path whether that limit holds.
        logger: Where requests are logged, at the level DEBUG; with the id of the request, as is
            every other line that is logged meanwhile.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard,
        max_body: int,
        is_limited: Callable[[str], bool],
        logger: Logger,
    ) -> None:
        self._app = app
        self._guard = guard
        self._max_body = max_body
        self._is_limited = is_limited
        self._logger = logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        found = [each for each in scope["headers"] if each[0] in _NEEDED]
        headers: dict[bytes, bytes] = dict(found)
        refusal = self._guard.refusal(scope["path"], _caller(scope, headers))
        if len(found) != len(headers) and _is_ambiguous(found):
            refusal = Refusal(400, "a header that may be there once is there twice")
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
                return
            await self._app(scope, receive, send)
            return
        own_id = accepted(headers.get(HEADER))
        token = request_id.set(own_id)
        try:
            with log_context(request_id=own_id):
                await self._answer(scope, receive, send, refusal, headers)
        finally:
            request_id.reset(token)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        refusal: Refusal | None,
        headers: dict[bytes, bytes],
    ) -> None:
        began = perf_counter()
        own_id = request_id.get().encode("ascii")
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kept = [each for each in message.get("headers", ()) if each[0] != HEADER]
                message["headers"] = [*kept, (HEADER, own_id)]
            await send(message)

        if refusal is None and self._is_limited(scope["path"]):
            refusal, receive = self._measured(headers.get(b"content-length"), receive)
        if refusal is not None:
            await answer_error(send_with_id, refusal.status, "refused", refusal.reason)
        else:
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if status:  # it is half sent, and the server cuts it off
                    raise
                await self._answer_exception(send_with_id, scope, error)
        if self._logger.isEnabledFor(DEBUG):
            seconds = round(perf_counter() - began, 6)
            reason = f" ({refusal.reason})" if refusal else ""
            self._logger.debug(
                "%s %s -> %d%s",
                scope["method"],
                quote(scope["path"]),  # it may have line breaks in it
                status,
                reason,
                extra={"duration": seconds},
            )

    async def _answer_exception(self, send: Send, scope: Scope, error: Exception) -> None:
        if isinstance(error, HTTPException):
            await answer_error(send, error.status_code, "refused", str(error.detail))
            return
        self._logger.error("%s failed", quote(scope["path"]), exc_info=error)
        await answer_error(send, 500, type(error).__name__, text_of(error))

    def _measured(self, length: bytes | None, receive: Receive) -> tuple[Refusal | None, Receive]:
        """Refuse a body that says it is too large; let one that does not say so raise in time."""
        if length is not None:
            if not length.isdigit():
                return Refusal(400, "the length of the body is no number"), receive
            return (self._too_large() if int(length) > self._max_body else None), receive
        seen = 0

        async def measured() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise HTTPException(413, self._too_large().reason)
            return message

        return None, measured

    def _too_large(self) -> Refusal:
        reason = (
            f"the body has more than {self._max_body} bytes; send less, or raise "
            "MINDTRACE_SERVICES__MAX_BODY"
        )
        return Refusal(413, reason)


def _caller(scope: Scope, headers: dict[bytes, bytes]) -> Caller:
    client: tuple[str, int] | None = scope.get("client")
    server: tuple[str, int | None] | None = scope.get("server")
    origin = headers.get(b"origin")
    authorization = headers.get(b"authorization")
    return Caller(
        client[0] if client else "",
        server[0] if server else "",
        scope["scheme"].replace("ws", "http"),
        headers.get(b"host", b"").decode("latin-1"),
        None if origin is None else origin.decode("latin-1"),
        None if authorization is None else authorization.decode("latin-1"),
        _way(scope) if scope["path"].startswith("/shutdown") else (),
    )


def _way(scope: Scope) -> tuple[str, ...]:
    """Return where a request came from before, as gateways say; asked for where it matters."""
    said = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    return tuple(each.strip() for each in said.decode("latin-1").split(",") if each.strip())


def _is_ambiguous(found: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether others, before or behind us, may go by another header of the same name."""
    names = [name for name, _ in found if name != HEADER]
    return len(names) != len(set(names))


def error_body(kind: str, message: str, **more: Any) -> dict[str, Any]:
    """Return the body of every answer that is an error."""
    return {"error": {"type": kind, "message": message}, "request_id": request_id.get(), **more}


def text_of(error: BaseException) -> str:
    """Return what an exception says, as text that fits into JSON."""
    try:
        return str(error).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - the exception is one of somebody else's class
        return "its own message failed"


async def answer_error(send: Send, status: int, kind: str, message: str) -> None:
    """Answer with an error, in the form that all errors have."""
    body = json.dumps(error_body(kind, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:  # noqa: PLR2004 - HTTP's number
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
