"""Serving a `Service` in this process, with uvicorn."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from logging import Filter, getLogger
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import Config

from mindtrace.core.errors import MindtraceError
from mindtrace.services.errors import InsecureBindError
from mindtrace.services.settings import ServicesSettings, is_loopback, services_settings
from mindtrace.services.types import ServerStatus

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator
    from logging import LogRecord

    from mindtrace.services.ending import Ending
    from mindtrace.services.service import Service


class Server(uvicorn.Server):
    """Tells when it is ready, and when it stops."""

    def __init__(
        self, service: Service, config: Config, ready: Callable[[], None], ending: Ending
    ) -> None:
        self._ending = ending
        self._stops = False
        super().__init__(config)
        self.service = service
        self._ready = ready

    @property
    def should_exit(self) -> bool:
        """Whether it is to stop; from then on the time of this process is limited."""
        return self._stops

    # uvicorn has it as a plain attribute, and sets it in the handler of a signal
    @should_exit.setter
    def should_exit(self, stops: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if stops and not self._stops:
            self._ending.begins()
            self.service.status = ServerStatus.STOPPING
        self._stops = stops

    def stop(self) -> None:
        """Finish the requests under way, and stop."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so."""
        await super().startup(sockets)
        self._ending.serves(self.stop)
        if self.started and not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does; handlers that are not done by then are left behind."""
        await super().shutdown(sockets)
        self._ending.is_nearly_over()


def check_reach(service: Service, sockets: list[socket.socket]) -> None:
    """Return if nobody else can reach these sockets, or needs a token then.

    Raises:
        InsecureBindError: Other machines could call without a token, and nobody said that they may.
    """
    if service.insecure or service.keys:
        return
    for each in sockets:
        host = str(each.getsockname()[0])
        if not is_loopback(host):
            raise InsecureBindError(type(service).__name__, host)


def server_of(service: Service, ready: Callable[[], None], ending: Ending) -> Server:
    """Return a server of a service; its `stop` stops it."""
    settings = services_settings(service.config)
    server = Server(service, _config(service, settings), ready, ending)
    service.on_shutdown(server.stop)
    return server


def serve(server: Server, sockets: list[socket.socket]) -> None:
    """Serve until it is stopped, or SIGTERM or SIGINT comes; requests under way are finished.

    Those that take longer than `stop_within` seconds are cancelled.

    Raises:
        InsecureBindError: Other machines could call without a token, and nobody said that they may.
    """
    check_reach(server.service, sockets)
    # uvicorn raises the signal again when it has stopped: then this one hears it
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, _stopped)
    with _brief(server.service):
        server.run(sockets)


@contextmanager
def _brief(service: Service) -> Generator[None]:
    """Keep uvicorn from showing where in the code an error came up that says all by itself.

    Whoever launches the service is told of it.
    """

    class Brief(Filter):
        def filter(self, record: LogRecord) -> bool:
            del record
            return not isinstance(service.startup_error, MindtraceError)

    logger, brief = getLogger("uvicorn.error"), Brief()
    logger.addFilter(brief)
    try:
        yield
    finally:
        logger.removeFilter(brief)


def _stopped(*_: object) -> None:
    pass


def _config(service: Service, settings: ServicesSettings) -> Config:
    tls: dict[str, Any] = {}
    if settings.tls_certificate is not None:
        tls = {
            "ssl_certfile": str(settings.tls_certificate),
            "ssl_keyfile": str(settings.tls_key) if settings.tls_key else None,
        }
    return Config(
        service.app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=max(1, round(settings.stop_within)),
        timeout_keep_alive=75,
        **tls,
    )
