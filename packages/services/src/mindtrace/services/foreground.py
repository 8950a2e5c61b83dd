"""Serving a `Service` in this very process, for commands that a supervisor starts and stops."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mindtrace.core.log import setup_logging
from mindtrace.services import launched
from mindtrace.services.ending import Ending
from mindtrace.services.errors import ServiceLaunchError, ServicePortInUseError
from mindtrace.services.launching import order_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.services.framing import Order, Report
    from mindtrace.services.launching import Launch


def serve_here(plan: Launch, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT comes or somebody calls `/shutdown`; return the exit code.

    Requests under way are finished, as in a process that was launched; the settings for logging
    hold. Call it in the main thread, once in a process, and end the process with
    `mindtrace.services.ending.leave`.

    Args:
        plan: What to serve, and where; `timeout`, `workers` and `detach` mean nothing here.
        ready: Called with the URL when it is ready.

    Raises:
        ServiceLaunchError: It did not get ready. Of this kind are `ServicePortInUseError` and
            `InsecureBindError`.
    """
    order = order_of(plan)
    ending = Ending(order.pid_file, order.gone_within)
    try:
        return _serve(plan, order, ending, ready)
    finally:
        ending.remove_pid()


def _serve(plan: Launch, order: Order, ending: Ending, ready: Callable[[str], None]) -> int:
    launched.prepare_output()
    setup_logging()
    try:
        listening = launched.listening_sockets(order)
    except launched.CannotListenError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            raise ServicePortInUseError(plan.name, order.host, order.port) from error
        raise ServiceLaunchError(plan.name, str(error)) from error
    ending.write_pid()
    url = order.url_at(listening[0].getsockname()[1])
    problems: list[str] = []

    def report(said: Report) -> None:
        if said.problem:
            problems.append(said.problem)
        else:
            ready(said.url)

    try:
        service = launched.made(order, plan.service, plan.init_params, url)
    except Exception as error:
        raise ServiceLaunchError(plan.name, f"{type(error).__name__}: {error}") from error
    code = launched.serve_until_stopped(service, listening, report, ending)
    if problems:
        raise ServiceLaunchError(plan.name, problems[0])
    return code
