"""`launch`: start a service in a process of its own, and return a client when it is ready."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import HttpUrl

from mindtrace.core.settings import get_config
from mindtrace.services.child import Child
from mindtrace.services.errors import (
    InsecureBindError,
    ServiceLaunchError,
    ServicePortInUseError,
)
from mindtrace.services.framing import Order, Report
from mindtrace.services.settings import is_loopback, services_settings
from mindtrace.services.shipping import shipped, shipped_by_name
from mindtrace.services.urls import bare_host, port_of

if TYPE_CHECKING:
    from mindtrace.services.connection_manager import ConnectionManager
    from mindtrace.services.interpreter import Interpreter
    from mindtrace.services.service import Service


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be launched, and how; see `Service.launch`.

    Attributes:
        service: The class.
        target: The dotted name of a subclass, which the new process imports and this one need not
            have. The client is that of `service`.
        interpreter: What runs it, if not our own interpreter in our own folder.
    """

    service: type[Service]
    url: HttpUrl
    timeout: float = 60.0
    workers: int = 1
    init_params: dict[str, Any] = field(default_factory=dict[str, Any])
    insecure: bool = False
    detach: bool = False
    target: str | None = None
    interpreter: Interpreter | None = None

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.target.rpartition(".")[2] if self.target else self.service.__name__


def launch(plan: Launch, *, wait: bool, block: bool, shows: bool) -> ConnectionManager:
    """Start a service; see `Service.launch`."""
    if plan.workers < 1:
        message = f"num_workers has to be at least 1, found {plan.workers}"
        raise ValueError(message)
    child = start(plan)
    try:
        # meanwhile, and what is wrong with the class shows here as well
        manager = plan.service.client_class()(child.order.url)
        manager.adopt(child, lambda timeout: ready(plan, child, timeout))
        if wait:
            with _shown(plan, shows=shows):
                manager.wait_for_launch(plan.timeout)
    except BaseException:
        child.end(0.0)
        raise
    if block:
        try:
            child.wait()
        except BaseException:
            child.end(child.order.gone_within)
            raise
    return manager


def order_of(plan: Launch) -> Order:
    """Return what a process that is launched like this is to do.

    Raises:
        InsecureBindError: Other machines could call without a token, and nobody said that they may.
    """
    config = get_config()
    settings = services_settings(config)
    host = bare_host(plan.url)
    if not (plan.insecure or plan.service.keys_in(config) or is_loopback(host)):
        raise InsecureBindError(plan.name, host)
    server_id = str(uuid4())
    url = plan.url
    if settings.tls_certificate is not None and url.scheme == "http":
        url = HttpUrl(str(url).replace("http:", "https:", 1))
    return Order(
        url=str(url),
        host=host,
        port=port_of(plan.url),
        sys_path=None if plan.interpreter else _sys_path(),
        report=-1,
        server_id=server_id,
        pid_file=str(config.dir_paths.server_pids.absolute() / f"{plan.name}-{server_id}.pid"),
        workers=plan.workers,
        stop_within=settings.stop_within,
        detached=plan.detach,
        insecure=plan.insecure,
    )


def start(plan: Launch) -> Child:
    """Start the process, and return at once."""
    order = order_of(plan)
    if plan.target is None:
        payload = shipped(plan.service, plan.init_params)
        name = f"{plan.service.__module__}.{plan.service.__qualname__}"
    else:
        payload = shipped_by_name(plan.target, plan.service, plan.init_params)
        name = plan.target
    title = ["-s", name, "-b", f"{order.host}:{order.port}"]
    output = _log_file(plan, get_config().dir_paths.logs, order.server_id) if plan.detach else None
    try:
        return Child(order, payload, title, interpreter=plan.interpreter, output=output)
    except (OSError, RuntimeError) as error:
        raise ServiceLaunchError(plan.name, f"no process could be started ({error})") from error


def _sys_path() -> list[str]:
    """Return where imports come from: as imports do, what is no text is left out."""
    entries: list[object] = [*sys.path]
    return [each or str(Path.cwd()) for each in entries if isinstance(each, str)]


def _log_file(plan: Launch, folder: Path, server_id: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plan.name}-{server_id}.log"
    path.touch(mode=0o600)
    return path


def ready(plan: Launch, child: Child, timeout: float) -> Report:
    """Return the report of a child that is ready.

    Raises:
        ServiceLaunchError: It is not, and has been ended.
    """
    report = child.report(timeout)
    if report is not None and not report.problem:
        return report
    if report is not None:
        child.wait(5.0)
    child.end(1.0)
    if report is None:
        problem = f"it was not ready within {timeout:g} s"
        raise ServiceLaunchError(plan.name, problem, child.tail())
    if report.kind == "port":
        raise ServicePortInUseError(plan.name, bare_host(plan.url), child.order.port)
    raise ServiceLaunchError(plan.name, report.problem, child.tail())


def _shown(plan: Launch, *, shows: bool) -> AbstractContextManager[object]:
    """Return what shows that something is going on, if anybody looks."""
    if not shows or not _is_terminal(sys.stderr):
        return nullcontext()
    from rich.console import Console  # noqa: PLC0415 - slow to load

    return Console(stderr=True).status(f"Launching {plan.name} ...")


def _is_terminal(stream: object) -> bool:
    """Tell whether somebody looks; what was put in the place of stderr may be anything."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False
