"""`Forwarding`: the ASGI application that passes requests on to apps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

from mindtrace.core.log import get_logger
from mindtrace.services.gate import answer_error
from mindtrace.services.gateway.errors import UNAVAILABLE, AppError, CallerGoneError
from mindtrace.services.gateway.headers import answer_headers, head_of, request_headers
from mindtrace.services.gateway.paths import BadPathError, split
from mindtrace.services.request_id import request_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mindtrace.services.gateway.apps import App, Apps
    from mindtrace.services.gateway.headers import Request
    from mindtrace.services.gateway.pool import Pool
    from mindtrace.services.gateway.wire import Wire

_log = get_logger(__name__)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may be sent again of which it is not known what became."""


class Forwarding:
    """Passes requests for `/<app>/...` on to the app, and its answers back, as they come.

    Args:
        apps: The apps.
        pool: The connections to them.
        name: How this gateway calls itself among others.
        otherwise: Answers what is no HTTP request.
    """

    def __init__(self, apps: Apps, pool: Pool, name: str, otherwise: ASGIApp) -> None:
        self._apps = apps
        self._pool = pool
        self._via = name.encode("ascii")
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
            return
        try:
            raw = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
            name, rest = split(raw, scope["query_string"])
        except BadPathError as error:
            await answer_error(send, 400, "BadPath", str(error))
            return
        app = self._apps.get(name)
        if app is None:
            said = f"nothing is here: no app is registered under the name {name!r}"
            await answer_error(send, 404, "NotFound", said)
            return
        request = request_headers(app, scope, self._via, request_id.get().encode("ascii"))
        if self._via in request.via.replace(b",", b" ").split():
            said = f"the app {name!r} leads back to this gateway, without end"
            await answer_error(send, 508, "LoopDetected", said)
            return
        target = app.prefix + rest
        if not target.startswith(b"/"):
            target = b"/" + target
        head = head_of(scope["method"], target, request.lines)
        await _Exchange(self._pool, app, request, scope, receive, send).run(head)


class _Exchange:
    """One request and its answer."""

    def __init__(  # noqa: PLR0917 - made at one place, for each request
        self,
        pool: Pool,
        app: App,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._pool = pool
        self._app = app
        self._request = request
        self._method: str = scope["method"]
        self._receive = receive
        self._send = send
        self._started = False

    async def run(self, head: bytes) -> None:
        first, more = b"", False
        if self._request.sized or self._request.chunked:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            first, more = message.get("body", b""), message.get("more_body", False)
        content = head + self._framed(first, last=not more)
        try:
            await self._attempts(content, more=more)
        except CallerGoneError:
            _log.debug("the caller of %r is gone", self._app.name)
        except AppError as error:
            await self._fail(error)

    async def _attempts(self, content: bytes, *, more: bool) -> None:
        origin = self._app.origin
        wire = await self._pool.wire(origin)
        try:
            await self._once(wire, content, more=more)
        except AppError as error:
            lost = wire.uses > 1 and not wire.heard and error.kind == UNAVAILABLE
            if not lost or more or self._method not in _SAFE:
                raise
            # the app closed a connection of which we believed that it was good
            wire = await self._pool.wire(origin, fresh=True)
            await self._once(wire, content, more=more)

    async def _once(self, wire: Wire, content: bytes, *, more: bool) -> None:
        wire.begin(self._method, self._app.timeout)
        wire.write(content)
        if not more:
            wire.sent()
        listening = asyncio.create_task(self._listen(wire, more=more))
        try:
            last = await self._pass_back(wire)
        finally:
            listening.cancel()
            wire.end()
            self._pool.give_back(self._app.origin, wire)
        await self._send({"type": "http.response.body", "body": last})

    async def _pass_back(self, wire: Wire) -> bytes:
        """Pass the answer back but for its last bytes; return those."""
        head = await wire.head()
        start: Message = {
            "type": "http.response.start",
            "status": head.status,
            "headers": answer_headers(head.status, head.headers),
        }
        self._started = True
        await self._send(start)
        while True:
            data, is_last = await wire.piece()
            if is_last:
                return data
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _listen(self, wire: Wire, *, more: bool) -> None:
        """Pass the rest of the request on, then wait until the caller goes away."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                wire.give_up(CallerGoneError())
                return
            if more:
                more = message.get("more_body", False)
                wire.write(self._framed(message.get("body", b""), last=not more))
                await wire.drain()
                if not more:
                    wire.sent()

    def _framed(self, data: bytes, *, last: bool) -> bytes:
        """Return a piece of the request's body as it goes over the wire."""
        if not self._request.chunked:
            return data
        end = b"0\r\n\r\n" if last else b""
        return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end

    async def _fail(self, error: AppError) -> None:
        _log.warning("the app %r %s", self._app.name, error.problem, extra={"app": self._app.name})
        if self._started:
            return  # half an answer: the server cuts the connection, so the caller knows
        said = f"the app {self._app.name!r} {error.problem}"
        if error.maybe_done:
            said += "; it may have done what it was asked for"
        await answer_error(self._send, error.status, error.kind, said)
