"""What the process of a launched service does, once it knows where imports come from."""

from __future__ import annotations

import errno
import faulthandler
import io
import os
import pickle
import socket
import sys
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mindtrace.core.errors import MindtraceError
from mindtrace.core.log import setup_logging
from mindtrace.services import framing, sockets
from mindtrace.services.ending import Ending
from mindtrace.services.framing import Order, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.services.lifeline import Parent
    from mindtrace.services.service import Service


class CannotListenError(Exception):
    """Says that an address is not to be had."""


def main(order: Order, payload: bytes, parent: Parent | None, pipe: int) -> int:
    """Serve, and return the exit code.

    Args:
        order: What to do.
        payload: The class to serve.
        parent: The process that this one ends with.
        pipe: The lifeline to it.
    """
    ending = Ending(order.own_pid_file, order.gone_within)
    if parent is not None:
        parent.watch(pipe, ending.orphaned)
    report = framing.Reporter(order.report)
    try:
        prepare_output()
        setup_logging()
        return _run(order, payload, report, ending)
    except CannotListenError as error:
        cause = error.__cause__
        taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
        report(Report(problem=str(error), kind="port" if taken else "error"))
    except MindtraceError as error:  # it says everything by itself
        report(Report(problem=str(error)))
    except Exception as error:  # noqa: BLE001 - the parent is told
        traceback.print_exc()
        report(Report(problem=f"{type(error).__name__}: {error}"))
    finally:
        ending.remove_pid()
    return 1


def prepare_output() -> None:
    """Let lines appear when they are written, in the encoding that a parent expects."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    faulthandler.enable()  # the last lines of a crash say where it was


def _run(order: Order, payload: bytes, report: framing.Reporter, ending: Ending) -> int:
    listening = listening_sockets(order)
    ending.write_pid()
    if order.workers > 1:
        from mindtrace.services.workers import Workers  # noqa: PLC0415 - rarely needed

        return Workers(order, payload, listening, report, ending).run()
    cls, init_params = _unpacked(payload)
    url = order.url_at(listening[0].getsockname()[1])
    return serve_until_stopped(made(order, cls, init_params, url), listening, report, ending)


def listening_sockets(order: Order) -> list[socket.socket]:
    """Return the sockets of an order, which listen.

    Raises:
        CannotListenError: The address is not to be had.
    """
    if order.sockets:
        for each in order.sockets:
            os.set_inheritable(each, False)
        return [socket.socket(fileno=each) for each in order.sockets]
    try:
        return sockets.listening(order.host, order.port)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"it cannot listen on port {order.port} of {order.host}: {reason}"
        raise CannotListenError(message) from error


def serve_until_stopped(
    service: Service,
    listening: list[socket.socket],
    report: Callable[[Report], None],
    ending: Ending,
) -> int:
    """Serve until it is stopped or a signal comes; return the exit code.

    Args:
        service: What to serve.
        listening: Where.
        report: Called once: when it is ready, or when it did not get so.
        ending: Sees to it that this process ends.
    """
    from mindtrace.services.serving import serve, server_of  # noqa: PLC0415 - FastAPI is slow to load

    def ready() -> None:
        report(Report(str(service.url), str(service.id), service.pid_file))

    server = server_of(service, ready, ending)
    try:
        serve(server, listening)
    except SystemExit:
        error = service.startup_error
        if error is None:
            raise
        report(Report(problem=f"{type(error).__name__} in startup(): {error}"))
        return 1
    return 0 if server.started else 1


def made(order: Order, cls: type[Service], init_params: dict[str, Any], url: str) -> Service:
    """Return the object that serves as an order says."""
    from mindtrace.services.construction import construct  # noqa: PLC0415

    given: dict[str, Any] = {"url": url, "pid_file": order.pid_file, "live_service": True}
    service: Service = construct(cls, init_params, **given)
    service.id = UUID(order.server_id)
    service.pid_file = order.pid_file
    service.insecure = order.insecure
    service.takes_any_port = order.port == 0
    service.place(url)
    return service


def _unpacked(payload: bytes) -> tuple[type[Service], dict[str, Any]]:
    """Return what `shipping.shipped` packed."""
    # from our own parent, through a pipe of ours
    stream = io.BytesIO(payload)
    for each in pickle.load(stream):  # noqa: S301
        # Pydantic and others look up the module of a class, be it empty
        sys.modules.setdefault(each, ModuleType(each))
    cls, init_params, named = pickle.load(stream)  # noqa: S301
    for function, names in named:
        for name, value in names.items():
            function.__globals__.setdefault(name, value)
    return cls, init_params
