"""`DockerEnvironment`: a command in a container of its own."""

from __future__ import annotations

import threading
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script.container import container_of
from mindtrace.cluster.run_script.engine import STDOUT, translating
from mindtrace.cluster.run_script.process import LOOK_EVERY, Ended
from mindtrace.cluster.run_script.task import Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mindtrace.cluster.run_script.engine import Engine
    from mindtrace.cluster.run_script.output import Output
    from mindtrace.cluster.run_script.settings import RunScriptSettings
    from mindtrace.cluster.run_script.task import Control, Task
    from mindtrace.cluster.run_script.types import DockerSpec

_DEFAULTS = {"PYTHONUNBUFFERED": "1", "HOME": "/tmp"}  # noqa: S108 - its own
_PERIOD = 10**9


class DockerEnvironment:
    """Runs commands in containers, each in one of its own, which is removed in any case.

    A container has no capabilities, no network, no root user and nothing that it can write to but
    `/tmp`, unless the job asks for more and the settings of the worker allow that. The entry point
    of the image is not used: the command is run as it is.

    Args:
        spec: What the job says of it.
        engine: Where it runs.
        settings: What the worker allows.

    Raises:
        RunScriptError: The job asks for more.
    """

    def __init__(self, spec: DockerSpec, engine: Engine, settings: RunScriptSettings) -> None:
        self._spec = spec
        self._engine = engine
        self._settings = settings
        self._container = container_of(spec, settings)

    def run(self, task: Task, output: Output, control: Control, temporary: Path) -> Ran:
        """Make a container, run a command in it, and remove it.

        Raises:
            RunScriptError: The engine says no.
        """
        del temporary
        image = self._engine.image(self._container.image, self._container.pull)
        api = self._engine.api
        with translating():
            made: str = api.create_container(image, **self._options(task))["Id"]
        try:
            with translating():
                ended = self._run(made, task, output, control)
        finally:
            self._engine.remove(made)
        return Ran(ended, image=image)

    def _run(self, made: str, task: Task, output: Output, control: Control) -> Ended:
        api = self._engine.api
        with self._engine.attached(made) as parts:
            reader = _Reader(parts, output)
            began = monotonic()
            api.start(made)
            reader.start()
            why_stop = control.why_stop(output, task.timeout)
            limit = self._until_ended(made, reader, why_stop, task.grace)
            code: int = api.wait(made)["StatusCode"]
            duration = monotonic() - began
            reader.finish()
        if limit is None and api.inspect_container(made)["State"]["OOMKilled"]:
            limit = "memory"
        return Ended(code, limit, duration)

    def _until_ended(
        self, made: str, reader: _Reader, why_stop: Callable[[], str | None], grace: float
    ) -> str | None:
        """Return when the container has ended, with what made it end if it had to."""
        import requests  # noqa: PLC0415 - comes with docker-py

        while True:
            if reader.wait(LOOK_EVERY):
                # its streams are closed, which it may have done itself
                try:
                    self._engine.api.wait(made, timeout=1)
                except (requests.ConnectionError, requests.Timeout):
                    pass
                else:
                    return None
            limit = why_stop() or reader.problem
            if limit is not None:
                self._engine.api.stop(made, timeout=ceil(grace))
                return limit

    def _options(self, task: Task) -> dict[str, Any]:
        wanted = self._container
        return {
            # the entry point of the image would see our command as its arguments
            "entrypoint": task.argv[:1],
            "command": task.argv[1:],
            "environment": _DEFAULTS | self._spec.environment | task.env,
            "working_dir": self._spec.working_dir or None,
            "user": wanted.user,
            "labels": self._engine.label,
            "ports": [_port(each) for each in wanted.ports],
            "stop_signal": "SIGTERM",
            "host_config": self._host_config(task),
        }

    def _host_config(self, task: Task) -> Any:
        from docker.types import DeviceRequest, LogConfig, Mount, Ulimit  # noqa: PLC0415 - of an extra

        wanted, settings, limits = self._container, self._settings, task.limits
        return self._engine.api.create_host_config(
            # what it writes is kept here, and would fill the engine's disk
            log_config=LogConfig(type="none"),
            init=settings.init,
            network_mode=wanted.network,
            read_only=wanted.read_only,
            tmpfs={"/tmp": f"rw,nosuid,nodev,size={int(settings.tmp_size)},mode=1777"},  # noqa: S108
            cap_drop=["ALL"],
            cap_add=wanted.capabilities or None,
            security_opt=["no-new-privileges"],
            mem_limit=limits.memory,
            memswap_limit=limits.memory,  # no more of it on a disk
            nano_cpus=None if limits.cpus is None else round(limits.cpus * _PERIOD),
            pids_limit=limits.processes,
            ulimits=[
                Ulimit(name=name, soft=most, hard=most)
                for name, most in (("core", 0), ("fsize", limits.file_size))
                if most is not None
            ],
            mounts=[
                Mount(each.target, str(each.source), type="bind", read_only=each.read_only)
                for each in wanted.volumes
            ],
            devices=wanted.devices,
            device_requests=None
            if wanted.gpus is None
            else [DeviceRequest(count=wanted.gpus, capabilities=[["gpu"]])],
            port_bindings={
                each: (settings.ports_address, port) for each, port in wanted.ports.items()
            },
        )


def _port(text: str) -> tuple[str, str]:
    number, _, protocol = text.partition("/")
    return number, protocol or "tcp"


class _Reader(threading.Thread):
    """Reads what a container writes, until its streams are closed."""

    def __init__(self, parts: Iterable[tuple[int, bytes]], output: Output) -> None:
        super().__init__(name="mindtrace-container-output", daemon=True)
        self._parts = parts
        self._output = output
        self._error: Exception | None = None

    @property
    def problem(self) -> str | None:
        """A word when what comes cannot be kept."""
        return None if self._error is None else "output"

    def wait(self, within: float) -> bool:
        """Tell whether nothing comes any more, waiting a moment for that."""
        self.join(within)
        return not self.is_alive() and self._error is None

    def finish(self) -> None:
        """Wait for the rest of what an ended container wrote.

        Raises:
            RunScriptError: It could not be kept.
        """
        self.join()
        if self._error is not None:
            problem = f"its output cannot be kept ({self._error})"
            raise RunScriptError(problem) from self._error

    def run(self) -> None:
        """Read."""
        try:
            for stream, data in self._parts:
                (self._output.out if stream == STDOUT else self._output.err).write(data)
        except Exception as error:  # noqa: BLE001 - it is told in another thread
            self._error = error
