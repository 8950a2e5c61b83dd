"""Which headers go through a gateway, and which it adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mindtrace.services.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from starlette.types import Scope

    from mindtrace.services.gateway.apps import App

    Header = tuple[bytes, bytes]

# RFC 9110, 7.6.1: these are about one connection
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_TO_APP = _HOP_BY_HOP | {
    b"expect",  # answered already, by this gateway
    b"host",
    b"x-request-id",
    # what others say of the way here, which nobody has checked
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-server",
    b"x-real-ip",
}
NO_BODY = frozenset({204, 304})
"""The statuses of answers that never have a body."""

_NOT_TO_CALLER = _HOP_BY_HOP | {b"date"}  # the server of the gateway adds its own


class Request(NamedTuple):
    """What is known of a request from its headers.

    Attributes:
        sized: Whether a body follows whose length is told.
        chunked: Whether a body follows whose length is not told.
        via: The gateways that it came through.
        lines: The headers for the app.
    """

    sized: bool
    chunked: bool
    via: bytes
    lines: list[Header]


def request_headers(app: App, scope: Scope, via: bytes, request_id: bytes) -> Request:
    """Return the headers for an app.

    Args:
        app: The app.
        scope: The request.
        via: How this gateway is called.
        request_id: The id of the request.
    """
    found: dict[bytes, bytes] = {}
    kept: list[Header] = []
    for header in scope["headers"]:
        name, value = header
        if name in _NOT_TO_APP:
            found[name] = found[name] + b", " + value if name in found else value
        elif name == b"origin":
            kept.append((name, _origin(app, scope, value)))
        elif name != b"authorization" or app.forward_auth:
            kept.append(header)
    if b"connection" in found:
        kept = _without(kept, _named(found[b"connection"]))
    chunked = b"transfer-encoding" in found
    if chunked:
        # RFC 9112, 6.3: the length is not to be believed then
        kept = _without(kept, {b"content-length"})
        kept.append((b"transfer-encoding", b"chunked"))
    lines = [
        (b"host", app.host),
        *kept,
        *(() if app.authorization is None else [(b"authorization", app.authorization)]),
        *_forwarded(app, scope, found),
        (b"via", _joined(found.get(b"via"), b"1.1 " + via)),
        (b"x-request-id", request_id),
    ]
    sized = not chunked and any(name == b"content-length" for name, _ in kept)
    return Request(sized, chunked, found.get(b"via", b""), lines)


def answer_headers(status: int, headers: list[Header]) -> list[Header]:
    """Return the headers of an app's answer for the caller."""
    # a 304 may tell the length of what it does not bring, but uvicorn would wait for that
    dropped = _NOT_TO_CALLER | {b"content-length"} if status in NO_BODY else _NOT_TO_CALLER
    for name, value in headers:
        if name == b"connection":
            dropped |= _named(value)
    return _without(headers, dropped)


def head_of(method: str, target: bytes, lines: Iterable[Header]) -> bytes:
    """Return the first bytes of a request."""
    parts = [method.encode("ascii"), b" ", target, b" HTTP/1.1\r\n"]
    for name, value in lines:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def _without(headers: Iterable[Header], names: Collection[bytes]) -> list[Header]:
    return [each for each in headers if each[0] not in names]


def _named(connection: bytes) -> frozenset[bytes]:
    """Return what a `Connection` header names: headers that are about one connection, too.

    The length of the body is not among them, whoever says so: without it, two sides would differ
    on where a message ends.
    """
    words = {each.strip().lower() for each in connection.split(b",")}
    return frozenset(words - {b"content-length"})


def _joined(before: bytes | None, added: bytes) -> bytes:
    return added if before is None else before + b", " + added


def _forwarded(app: App, scope: Scope, found: dict[bytes, bytes]) -> list[Header]:
    """Return what an app is told about the caller."""
    client = scope.get("client")
    address = str(client[0]) if client else "unknown"
    # only what programs of this machine say is passed on, such as another gateway's word
    before = found.get(b"x-forwarded-for")
    if before is not None and not is_loopback(address):
        before = None
    added = [
        (b"x-forwarded-for", _joined(before, address.encode("latin-1", "replace"))),
        (b"x-forwarded-proto", scope["scheme"].encode("ascii")),
        (b"x-forwarded-prefix", b"/" + app.name.encode("ascii")),
    ]
    if b"host" in found:
        added.append((b"x-forwarded-host", found[b"host"]))
    return added


def _origin(app: App, scope: Scope, origin: bytes) -> bytes:
    """Return the origin of the page that calls; one of the gateway's is one of the app's.

    The gateway has let the page in. The app would take it for a foreign one, because the app is
    called by another host.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    own = scope["scheme"].encode("ascii") + b"://" + (hosts[0] if hosts else b"")
    return app.own_origin if origin.lower() == own.lower() else origin
