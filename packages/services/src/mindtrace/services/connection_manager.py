"""`ConnectionManager`: the client of a service; `generation` makes the methods for endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import weakref
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self
from weakref import WeakKeyDictionary

import httpx
from pydantic import HttpUrl

from mindtrace.core.base import Mindtrace
from mindtrace.core.clock import SystemClock
from mindtrace.services.calling import Bearer, Call, decoded, encoded, query, trust
from mindtrace.services.endpoints import Endpoint
from mindtrace.services.errors import (
    AccessDeniedError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from mindtrace.services.settings import services_settings
from mindtrace.services.types import (
    ServerStatus,
    ShutdownOutput,
    ShutdownSchema,
    StatusOutput,
    StatusSchema,
)
from mindtrace.services.urls import bare_host, checked, port_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType
    from uuid import UUID

    from mindtrace.services.child import Child
    from mindtrace.services.framing import Report

TIMEOUT = 60.0
"""Seconds that a service may be silent before a call is given up."""

GONE_WITHIN = 30.0
"""Seconds within which a service has to be gone after it was told to stop."""

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=60.0)
_SHUTDOWN = Endpoint("/shutdown", "shutdown", lambda: None, ShutdownSchema)
_STATUS = Endpoint("/status", "status", lambda: None, StatusSchema, repeatable=True)
_NO_SERVICE = (ServiceError, ServiceUnavailableError, ServiceTimeoutError)


class ConnectionManager(Mindtrace):
    """A client of a service: a method for each endpoint, and one with an `a` before it for asyncio.

    Connections are kept open and used again. It may be shared by threads, and by event loops. The
    token of the settings, if there is one, is shown to the service; proxies in the environment are
    not used.

    As a context manager it shuts the service down at the end. Without, the connections are closed
    when it is forgotten, at the latest.

    Args:
        url: Where the service is.
        server_id: The running service, if known.
        server_pid_file: The file with the number of its process, if known.
    """

    table: ClassVar[dict[str, Endpoint]] = {}
    """The endpoints of the service, by name."""

    def __init__(
        self,
        url: str | HttpUrl | None = None,
        server_id: UUID | None = None,
        server_pid_file: str | None = None,
    ) -> None:
        super().__init__()
        self._url = checked(str(url if url is not None else "http://localhost:8000"))
        self._server_id = server_id
        self._server_pid_file = server_pid_file
        settings = services_settings()
        self._token = settings.token()
        self._trust = trust(settings)
        self._mutex = threading.Lock()
        self._client: httpx.Client | None = None
        self._client_owner = 0
        self._close_client: Callable[[], object] = _nothing
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = (
            WeakKeyDictionary()
        )
        self._child: Child | None = None
        self._ready: Callable[[float], Report] | None = None
        self._talks_only = False

    # where it is

    @property
    def url(self) -> HttpUrl:
        """Where the service is. After a launch with port 0 it waits until the port is known."""
        if self._ready is not None and self._url.port == 0:
            self.wait_for_launch()
        return self._url

    def adopt(self, child: Child, ready: Callable[[float], Report]) -> None:
        """Take over a process that was launched; for `launch`."""
        self._child, self._ready = child, ready

    def wait_for_launch(self, timeout: float = TIMEOUT) -> None:
        """Return when the launched service is ready; at once if it is, or was not launched here.

        Raises:
            ServiceLaunchError: It did not get ready within that many seconds, and is ended.
        """
        if self._ready is None:
            return
        report = self._ready(timeout)
        from uuid import UUID  # noqa: PLC0415 - only launches have it

        self._url, self._server_id = HttpUrl(report.url), UUID(report.server_id)
        self._server_pid_file = report.pid_file
        self._ready = None

    @property
    def process_id(self) -> int | None:
        """The number of the process that was launched here; None if it was not."""
        return self._child.process.pid if self._child else None

    def wait_until_ended(self, timeout: float | None = None) -> bool:
        """Wait until the process that was launched here has ended; tell whether it has."""
        return self._child is None or self._child.wait(timeout)

    def end(self, within: float = GONE_WITHIN) -> None:
        """End the process that was launched here, without a call: it need not answer any more.

        It is asked to stop, and killed if it does not within that many seconds.
        """
        if self._child is not None:
            self._child.end(within)
        self.close()

    # calling

    def _token_finder(self) -> Callable[[], list[str]]:
        """Return what finds the tokens that calls may show, what opens most first.

        It does not refer to this object, which its connections would keep alive.
        """
        found = [] if self._token is None else [self._token]
        return lambda: found

    def call(
        self,
        endpoint: Endpoint,
        value: object = None,
        *,
        timeout: float = TIMEOUT,
        validates: bool = True,
    ) -> Any:
        """Call an endpoint and return its output; what the generated methods do."""
        call = self._call(endpoint, value, timeout)
        attempt = 0
        while True:
            client = self._sync()
            try:
                response = client.send(call.request(client))
            except RuntimeError:
                if not client.is_closed:  # another thread called `close` just before
                    raise
            except httpx.RequestError as error:
                pause = call.pause_after(error, attempt)
                if pause is None:
                    raise call.failure(error) from error
                SystemClock().sleep(pause)
                attempt += 1
            else:
                return decoded(response, endpoint.schema, validates=validates)

    async def acall(
        self,
        endpoint: Endpoint,
        value: object = None,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - of silence, not of the whole call
        validates: bool = True,
    ) -> Any:
        """Call an endpoint from an event loop."""
        call = self._call(endpoint, value, timeout)
        client, attempt = await self._async(), 0
        while True:
            try:
                response = await client.send(call.request(client))
            except httpx.RequestError as error:
                pause = call.pause_after(error, attempt)
                if pause is None:
                    raise call.failure(error) from error
                await asyncio.sleep(pause)
                attempt += 1
            else:
                return decoded(response, endpoint.schema, validates=validates)

    def _call(self, endpoint: Endpoint, value: object, timeout: float) -> Call:
        url = f"{self.url}{endpoint.path[1:]}"
        body = endpoint.has_body
        return Call(
            endpoint.methods[0],
            url,
            encoded(value) if body else None,
            None if body else query(value),
            timeout,
            endpoint.repeatable,
        )

    def _sync(self) -> httpx.Client:
        client = self._client
        if client is not None and self._is_usable(client):
            return client
        with self._mutex:
            if self._client is None or not self._is_usable(self._client):
                self._client = httpx.Client(
                    auth=Bearer(self._token_finder()),
                    verify=self._verifying(),
                    limits=_LIMITS,
                    trust_env=False,
                )
                self._client_owner = os.getpid()
                self._close_client = weakref.finalize(self, self._client.close)
            return self._client

    def _verifying(self) -> ssl.SSLContext | bool:
        return self._trust if self._url.scheme == "https" else _nobody_trusted()

    def _is_usable(self, client: httpx.Client) -> bool:
        # after a fork, parent and child would read each other's answers
        return self._client_owner == os.getpid() and not client.is_closed

    async def _async(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        with self._mutex:
            found = self._clients.get(loop)
            if found is None:
                client = httpx.AsyncClient(
                    auth=Bearer(self._token_finder()),
                    verify=self._verifying(),
                    limits=_LIMITS,
                    trust_env=False,
                )
                found = self._clients[loop] = _LoopClient(client)
        await found.begin()
        return found.client

    # the endpoints that are more than a call

    def check(self, timeout: float = TIMEOUT) -> None:
        """Return if the service answers.

        Raises:
            ServiceUnavailableError: Nothing answers.
            ServiceTimeoutError: It did not answer in time.
            ServiceError: Something answers that is no service.
        """
        try:
            self.call(_STATUS, timeout=timeout)
        except AccessDeniedError:
            raise
        except ServiceError as error:
            said = f"what answers there is no service: {error.remote_message}"
            raise ServiceError(
                error.url, error.status, error.remote_type, said, error.request_id
            ) from error

    def status(self, *, timeout: float = TIMEOUT) -> StatusOutput:
        """Return what the service is doing; `DOWN` if no service answers."""
        try:
            return self.call(_STATUS, timeout=timeout)  # type: ignore[no-any-return]
        except _NO_SERVICE:
            return StatusOutput(status=ServerStatus.DOWN)

    async def astatus(self, *, timeout: float = TIMEOUT) -> StatusOutput:  # noqa: ASYNC109 - as in acall
        """Return what the service is doing; `DOWN` if no service answers."""
        try:
            return await self.acall(_STATUS, timeout=timeout)  # type: ignore[no-any-return]
        except _NO_SERVICE:
            return StatusOutput(status=ServerStatus.DOWN)

    def shutdown(
        self,
        block: bool = True,  # noqa: FBT001, FBT002 - as it is called
        *,
        timeout: float = GONE_WITHIN,
    ) -> ShutdownOutput:
        """Stop the service; requests under way are finished first.

        Args:
            block: Return only when it is gone and its port is free.
            timeout: Seconds within which it has to be gone.

        Raises:
            ServiceUnavailableError: It was not there to be stopped.
            ServiceTimeoutError: It is not gone in time. One that was launched here is killed then.
            AccessDeniedError: It wants a token.
        """
        if self._child is not None and not self._child.is_alive:
            return ShutdownOutput(shutdown=True)
        try:
            self.call(self.table.get("shutdown", _SHUTDOWN), timeout=timeout)
        except ServiceUnavailableError:
            if self._child is None:
                raise
            # somebody else has stopped it, and its process is about to end
        if block:
            self._wait_until_gone(timeout)
        self.close()
        return ShutdownOutput(shutdown=True)

    async def ashutdown(
        self,
        block: bool = True,  # noqa: FBT001, FBT002 - as it is called
        *,
        timeout: float = GONE_WITHIN,  # noqa: ASYNC109 - as in shutdown
    ) -> ShutdownOutput:
        """Stop the service, as `shutdown` does."""
        return await asyncio.to_thread(self.shutdown, block, timeout=timeout)

    def _wait_until_gone(self, timeout: float) -> None:
        if self._child is not None:
            if not self._child.wait(timeout):
                self._child.end(0.0)
                raise ServiceTimeoutError(str(self._url), timeout)
            return
        end = monotonic() + timeout
        clock = SystemClock()
        address = (bare_host(self._url), port_of(self._url))
        while True:
            try:
                socket.create_connection(address, timeout=1.0).close()
            except OSError:
                return
            if monotonic() > end:
                raise ServiceTimeoutError(str(self._url), timeout)
            clock.sleep(0.02)

    # ending

    def only_talking(self) -> Self:
        """Make the context manager close the connections at its end, and let the service live."""
        self._talks_only = True
        return self

    def close(self) -> None:
        """Close the connections; the service lives on. Another call opens new ones.

        Those of event loops are closed by `aclose`, or when their loop ends.
        """
        with self._mutex:
            self._client, close = None, self._close_client
        close()

    async def aclose(self) -> None:
        """Close the connections, those of this event loop as well."""
        self.close()
        with self._mutex:
            found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.end()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        try:
            if not self._talks_only:
                with contextlib.suppress(ServiceUnavailableError):  # somebody else stopped it
                    self.shutdown()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        try:
            if not self._talks_only:
                with contextlib.suppress(ServiceUnavailableError):  # somebody else stopped it
                    await self.ashutdown()
        finally:
            await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._url)!r})"


def _nothing() -> None:
    pass


@lru_cache(maxsize=1)
def _nobody_trusted() -> ssl.SSLContext:
    """Return a context for connections without TLS; to load the system's authorities is slow."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _LoopClient:
    """The connections of one event loop, which are closed when the loop shuts down.

    A loop closes the asynchronous generators that are under way in it, and one that holds the
    client is.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._holder = self._hold()
        self._began = False

    async def begin(self) -> None:
        if not self._began:
            self._began = True
            await anext(self._holder)

    async def end(self) -> None:
        await self._holder.aclose()

    async def _hold(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.client.aclose()
