"""`Pool`: the connections to apps, kept for a while for the next request."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from mindtrace.services.calling import CONNECT_WITHIN, trust
from mindtrace.services.gateway.errors import GATEWAY_TIMEOUT, UNAVAILABLE, AppError
from mindtrace.services.gateway.wire import Wire

if TYPE_CHECKING:
    from mindtrace.services.gateway.apps import Origin
    from mindtrace.services.settings import ServicesSettings

IDLE_FOR = 4.0
"""Seconds that a connection is kept without use. Many servers close theirs after 5, and a request
that is on its way just then is lost."""

MOST_IDLE = 256
"""The most connections to one app that are kept without use."""


class Pool:
    """The connections to apps; used on one event loop."""

    def __init__(self, settings: ServicesSettings) -> None:
        self._settings = settings
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[Origin, list[Wire]] = {}
        self._all: set[Wire] = set()

    async def wire(self, origin: Origin, *, fresh: bool = False) -> Wire:
        """Return a connection that nobody uses: the one used last, or a new one.

        Raises:
            AppError: None could be made.
        """
        idle = self._idle.get(origin)
        while idle and not fresh:
            found = idle.pop()
            if found.expiry is not None:
                found.expiry.cancel()
            if found.is_open:
                return found
        return await self._connected(origin)

    def give_back(self, origin: Origin, wire: Wire) -> None:
        """Take a connection back, after its `end`."""
        if not wire.is_open:
            return
        idle = self._idle.setdefault(origin, [])
        if len(idle) >= MOST_IDLE:
            wire.close()
            return
        idle.append(wire)
        loop = asyncio.get_running_loop()
        wire.expiry = loop.call_later(IDLE_FOR, self._expire, origin, wire)

    def close(self) -> None:
        """Close all connections."""
        for each in list(self._all):
            if each.expiry is not None:
                each.expiry.cancel()
            each.close()
        self._idle.clear()

    async def _connected(self, origin: Origin) -> Wire:
        loop = asyncio.get_running_loop()
        context = self._trusted() if origin.secure else None
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                _, wire = await loop.create_connection(
                    lambda: Wire(self._all.discard), origin.host, origin.port, ssl=context
                )
        except TimeoutError:
            problem = f"did not take a connection within {CONNECT_WITHIN:g} s"
            raise AppError(UNAVAILABLE, problem, status=GATEWAY_TIMEOUT, maybe_done=False) from None
        except OSError as error:
            problem = f"does not take connections ({_reason(error)})"
            raise AppError(UNAVAILABLE, problem, maybe_done=False) from error
        if wire.is_open:
            self._all.add(wire)
        return wire

    def _trusted(self) -> ssl.SSLContext:
        if self._tls is None:
            found = trust(self._settings)
            self._tls = found if isinstance(found, ssl.SSLContext) else ssl.create_default_context()
        return self._tls

    def _expire(self, origin: Origin, wire: Wire) -> None:
        idle = self._idle.get(origin, [])
        if wire in idle:
            idle.remove(wire)
        if not idle:
            self._idle.pop(origin, None)
        wire.close()


def _reason(error: OSError) -> str:
    """Return why, without the address, which callers need not know."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or type(error).__name__}"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return type(error).__name__
