"""`RunScriptWorker`: runs commands in Git checkouts and containers."""

from __future__ import annotations

import codecs
import json
import sys
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from mindtrace.cluster.core.types import JobStatusEnum
from mindtrace.cluster.errors import InvalidPayloadError, RunScriptError
from mindtrace.cluster.folders import git_folder_of
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.outcome import MOST
from mindtrace.cluster.run_script.engine import Engine
from mindtrace.cluster.run_script.output import Output
from mindtrace.cluster.run_script.process import Keepers
from mindtrace.cluster.run_script.records import TEMPORARY, Records
from mindtrace.cluster.run_script.settings import run_script_settings
from mindtrace.cluster.run_script.task import Control, Task
from mindtrace.cluster.run_script.types import RunScriptWorkerInput, RunScriptWorkerOutput
from mindtrace.cluster.settings import cluster_settings
from mindtrace.cluster.worker import Worker
from mindtrace.cluster.workers.environments.docker_env import PORTS, DockerEnvironment
from mindtrace.cluster.workers.environments.git_env import GitEnvironment
from mindtrace.core.settings import get_config
from mindtrace.core.task import TaskSchema
from mindtrace.jobs import Consumer

if TYPE_CHECKING:
    from pathlib import Path

    from mindtrace.cluster.run_script.task import Ran, ScriptEnvironment
    from mindtrace.cluster.run_script.types import EnvironmentSpec

__all__ = ["RunScriptWorker", "RunScriptWorkerInput", "RunScriptWorkerOutput"]

CONCURRENCY = 4

_MOST_TOLD = MOST - 200
"""Characters of an output, so that the outcome of a failed job, a little longer, is kept whole."""

_PIECE = 256 * 1024


class OutputInput(BaseModel):
    """Which part of the output of a run is asked for.

    Attributes:
        job_id: The job; its last run is meant.
        stream: Which of the two.
        after: The byte to begin at.
    """

    job_id: str
    stream: Literal["stdout", "stderr"] = "stdout"
    after: int = Field(default=0, ge=0)


class OutputPart(BaseModel):
    """A part of the output of a run.

    Attributes:
        text: It; empty if there is none yet.
        after: Where the next part begins.
        running: Whether the run goes on.
        ports: The ports in the container, with those of the host where they are, while it runs.
    """

    text: str
    after: int
    running: bool
    ports: dict[str, int] = Field(default_factory=dict[str, int])


class RunScriptWorker(Worker):
    """Runs the commands of jobs, each in an environment of its own, several at a time.

    A job whose command ends with 0 is completed, with any other it failed; both have a
    `RunScriptWorkerOutput`. Whatever a command started has ended when its job has.

    A Git job can do what the user of the worker can, or the user that `run_as` names: it is no
    security boundary. What is contained, and what is not, is in docs/run-script.md.

    Args:
        concurrency: How many jobs it runs at a time.
        devices: Accepted for older code; the worker's settings say which devices jobs may have.
        kwargs: Those of `Worker`.
    """

    def __init__(
        self, *, concurrency: int = CONCURRENCY, devices: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(concurrency=concurrency, **kwargs)
        del devices
        if sys.platform != "linux":
            what = "a RunScriptWorker needs Linux, which lets one process end all that another left"
            raise RunScriptError(what)
        config = get_config()
        root = config.dir_paths.root
        self._settings = run_script_settings(config)
        cluster = cluster_settings(config)
        self._access = Access.of(cluster)
        self._cache = git_folder_of(cluster, config)
        self._folder = (self._settings.folder or root / "run_script").expanduser().absolute()
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self._records = Records(
            self._folder / "records", keep=self._settings.records, size=self._settings.records_size
        )
        self._keepers = Keepers()
        self.add_endpoint(
            "/output",
            self.output,
            TaskSchema(name="output", input_schema=OutputInput, output_schema=OutputPart),
            repeatable=True,
        )

    def output(self, payload: OutputInput) -> OutputPart:
        """Return what a run has written from some byte on, also while it runs.

        Raises:
            RunScriptError: There is no record of it here.
        """
        folder = self._records.find(payload.job_id)
        if folder is None:
            problem = f"this worker has no record of the job {payload.job_id!r}"
            raise RunScriptError(problem)
        running = self._records.is_running(folder)  # first: what was written before is all
        with (folder / payload.stream).open("rb") as file:
            file.seek(payload.after)
            data = file.read(_PIECE)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)
        # a character that is half there is told when it is whole
        half = len(decoder.getstate()[0])
        if half and not running and len(data) < _PIECE:
            text, half = text + decoder.decode(b"", final=True), 0
        return OutputPart(
            text=text,
            after=payload.after + len(data) - half,
            running=running,
            ports=_ports(folder),
        )

    def _run(self, job_dict: Any) -> Any:
        job = _read(job_dict)
        task = Task.of(job, self._settings)
        environment = self._environment(job.environment)
        with (
            self._records.new(self._running.get(threading.get_ident())) as record,
            Consumer.progress() as progress,
            Output(record.folder, task.secrets, self._settings.shown) as output,
        ):
            control = Control(Consumer.cancelled, progress, self._settings.output)
            ran = environment.run(task, output, control, record.temporary)
            if ran.ended.problem is not None:
                output.err.write(f"{ran.ended.problem}\n".encode())
            progress.update(output.lines)
        done = ran.ended.code == 0 and ran.ended.limit is None
        return {
            "status": JobStatusEnum.COMPLETED if done else JobStatusEnum.FAILED,
            "output": _told(ran, output, self._settings.shown),
        }

    def _environment(self, spec: EnvironmentSpec) -> ScriptEnvironment:
        """Return where a job runs.

        Raises:
            RunScriptError: This worker does not serve such environments.
        """
        kind = "git" if spec.git is not None else "docker"
        if kind not in self._settings.environments:
            problem = f"this worker serves no {kind} jobs (MINDTRACE_RUN_SCRIPT__ENVIRONMENTS)"
            raise RunScriptError(problem)
        if spec.git is not None:
            return GitEnvironment(
                spec.git,
                self._cache,
                self._access,
                self._keepers,
                pass_variables=self._settings.pass_variables,
                run_as=self._settings.run_as,
            )
        assert spec.docker is not None, "it has one of the two"
        return DockerEnvironment(spec.docker, self._open_engine(), self._settings)

    def _open_engine(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._engine = Engine(self._folder / "workers")
            return self._engine

    def start(self) -> None:
        """Remove the containers that workers of this machine left when they were killed."""
        super().start()
        if "docker" in self._settings.environments and find_spec("docker") is not None:
            try:
                self._open_engine()
            except RunScriptError as error:
                self.logger.debug("There are no containers here for now. %s", error)

    def shutdown_cleanup(self) -> None:
        """Finish the jobs in hand."""
        super().shutdown_cleanup()
        self._keepers.close()
        if self._engine is not None:
            self._engine.close()


def _read(payload: Any) -> RunScriptWorkerInput:
    """Return what a job says.

    Raises:
        InvalidPayloadError: It is no such job; it names what is wrong, and no values.
    """
    try:
        return RunScriptWorkerInput.model_validate(payload)
    except ValidationError as error:
        problems = [
            ": ".join([".".join(map(str, each["loc"])), each["msg"]]).removeprefix(": ")
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidPayloadError("RunScriptWorkerInput", problems) from None


def _ports(record: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads((record / TEMPORARY / PORTS).read_text("ascii"))
    except FileNotFoundError:  # none is published, or not any more
        return {}
    return found


def _told(ran: Ran, output: Output, shown: int) -> dict[str, Any]:
    """Return the outcome, with as much of the output as there is room for."""
    out, err = output.out, output.err
    limit: int | None = None
    while True:
        found = RunScriptWorkerOutput(
            stdout=out.excerpt.text(limit),
            stderr=err.excerpt.text(limit),
            exit_code=ran.ended.code,
            duration=ran.ended.duration,
            limits_hit=[] if ran.ended.limit is None else [ran.ended.limit],
            commit=ran.commit,
            image=ran.image,
            stdout_size=out.excerpt.size,
            stderr_size=err.excerpt.size,
            stdout_file=str(out.path),
            stderr_file=str(err.path),
        ).model_dump(mode="json")
        # what is not ASCII takes more room there than here
        if len(json.dumps(found)) <= _MOST_TOLD or limit == 0:
            return found
        limit = (shown if limit is None else limit) // 2
