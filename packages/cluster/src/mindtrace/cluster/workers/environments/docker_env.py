"""`DockerEnvironment`: a command in a container of its own."""

from __future__ import annotations

import json
import re
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
_OF_GPUS = re.compile("gpu|nvidia", re.IGNORECASE)

PORTS = "ports"
"""The file that says, while a container runs, at which ports of the host its ports are."""


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
        engine = self._engine
        engine.tidy()
        engine.check(task.limits)
        image = engine.image(self._container.image, self._container.pull, control)
        with translating():
            made: str = engine.api.create_container(image.id, **self._options(task))["Id"]
        try:
            with translating():
                ended = self._run(made, task, output, control, temporary)
        finally:
            engine.remove(made)
        return Ran(ended, image=image.name)

    def _run(
        self, made: str, task: Task, output: Output, control: Control, temporary: Path
    ) -> Ended:
        api = self._engine.api
        with self._engine.attached(made) as parts:
            reader = _Reader(parts, output)
            began = monotonic()
            self._start(made)
            reader.start()
            if self._container.ports:
                said = json.dumps(self._published(made))
                (temporary / PORTS).write_text(said, encoding="ascii")
            why_stop = control.why_stop(output, task.timeout)
            limit = self._until_ended(made, reader, why_stop, task.grace)
            code: int = api.wait(made)["StatusCode"]
            duration = monotonic() - began
            reader.finish()
        if limit is None and self._engine.ran_out_of_memory(made, code):
            limit = "memory"
        return Ended(code, limit, duration)

    def _start(self, made: str) -> None:
        try:
            with translating():
                self._engine.api.start(made)
        except RunScriptError as error:
            if self._container.gpus is not None and _OF_GPUS.search(error.problem):
                problem = (
                    "the Docker engine has no GPU to give; that takes one, and NVIDIA's container "
                    f"toolkit ({error.problem})"
                )
                raise RunScriptError(problem) from error
            raise

    def _published(self, made: str) -> dict[str, int]:
        """Return at which ports of the host those of a container are."""
        settings = self._engine.api.inspect_container(made)["NetworkSettings"]
        found: dict[str, Any] = settings["Ports"] or {}
        return {name: int(each[0]["HostPort"]) for name, each in found.items() if each}

    def _until_ended(
        self, made: str, reader: _Reader, why_stop: Callable[[], str | None], grace: float
    ) -> str | None:
        """Return when the container has ended, with what made it end if it had to."""
        while True:
            # its streams are closed, which it may have done itself
            if reader.wait(LOOK_EVERY) and self._engine.has_ended(made):
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
        from docker.types import DeviceRequest, LogConfig, Ulimit  # noqa: PLC0415 - of an extra

        wanted, settings, limits = self._container, self._settings, task.limits
        return self._engine.api.create_host_config(
            # what it writes is kept here, and would fill the engine's disk
            log_config=LogConfig(type="none"),
            init=settings.init,
            network_mode=wanted.network,
            read_only=wanted.read_only,
            # what is built there is run there
            tmpfs={"/tmp": f"rw,exec,nosuid,nodev,size={int(settings.tmp_size)},mode=1777"},  # noqa: S108
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
            mounts=[self._engine.mount(each) for each in wanted.volumes],
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
