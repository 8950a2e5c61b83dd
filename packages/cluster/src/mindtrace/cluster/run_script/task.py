"""One run of a command: what is handed to an environment, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

from pydantic import ByteSize

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script.process import Command
from mindtrace.cluster.run_script.types import Limits, SecretName

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mindtrace.cluster.run_script.output import Output
    from mindtrace.cluster.run_script.process import Ended, User
    from mindtrace.cluster.run_script.settings import RunScriptSettings
    from mindtrace.cluster.run_script.types import RunScriptWorkerInput
    from mindtrace.jobs.execution import Progress


_TELL_EVERY = 0.25
"""Seconds between two reports of progress; the store takes one each 0.1 s."""

Number = TypeVar("Number", int, float, ByteSize)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run, checked against what the worker allows.

    Attributes:
        argv: The program and its arguments.
        env: The variables of the job, secrets among them.
        secrets: The secrets, to be masked.
        limits: What it may use.
        timeout: Seconds that it may take.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    argv: list[str]
    env: dict[str, str] = field(repr=False)
    secrets: list[str] = field(repr=False)
    limits: Limits
    timeout: float
    grace: float

    @classmethod
    def of(cls, job: RunScriptWorkerInput, settings: RunScriptSettings) -> Task:
        """Return what a job asks for.

        Raises:
            RunScriptError: It asks for more than the worker allows, or for an unknown secret.
        """
        secrets = {
            name: _secret(given.secret, settings)
            for name, given in job.env.items()
            if isinstance(given, SecretName)
        }
        plain = {name: given for name, given in job.env.items() if isinstance(given, str)}
        limits = Limits(
            memory=_within("limits.memory", job.limits.memory, settings.memory),
            cpus=_within("limits.cpus", job.limits.cpus, settings.cpus),
            processes=_within("limits.processes", job.limits.processes, settings.processes),
            file_size=_within("limits.file_size", job.limits.file_size, settings.file_size),
        )
        timeout = _within("timeout", job.timeout, settings.timeout)
        assert timeout is not None, "the settings have one"
        env = {**plain, **secrets}
        return cls(job.arguments, env, list(secrets.values()), limits, timeout, settings.grace)

    def command(
        self, argv: list[str], cwd: Path, env: dict[str, str], user: User | None
    ) -> Command:
        """Return what is run for it on this machine, with all of its limits that are kept there."""
        return Command(
            argv,
            cwd,
            env,
            grace=self.grace,
            memory=self.limits.memory,
            processes=self.limits.processes,
            file_size=self.limits.file_size,
            user=user,
        )


def _secret(name: str, settings: RunScriptSettings) -> str:
    found = settings.secrets.get(name.lower())
    if found is None:
        problem = (
            f"the worker has no secret {name!r}; set MINDTRACE_RUN_SCRIPT__SECRETS__{name.upper()} "
            "where it runs"
        )
        raise RunScriptError(problem)
    return found.get_secret_value()


def _within(what: str, asked: Number | None, allowed: Number | None) -> Number | None:
    if asked is not None and allowed is not None and asked > allowed:
        problem = f"{what} of {asked:g} is more than the {allowed:g} that the worker allows"
        raise RunScriptError(problem)
    return allowed if asked is None else asked


class Ran(NamedTuple):
    """How a command ended, and in what it ran."""

    ended: Ended
    commit: str | None = None
    image: str | None = None


class Control(Event):
    """Says when a run is to end: the event that makes what prepares it give up, and `why_stop`.

    It is asked in the thread of the job, which alone knows whether the job is cancelled.

    Args:
        cancelled: Tells whether somebody cancelled the job.
        progress: Is told how many lines the command has written.
        most_output: Bytes that it may write.
    """

    def __init__(self, cancelled: Callable[[], bool], progress: Progress, most_output: int) -> None:
        super().__init__()
        self._cancelled = cancelled
        self._progress = progress
        self._most_output = most_output
        self._told_at = monotonic()

    def is_set(self) -> bool:
        """Tell whether the job is to be given up."""
        return super().is_set() or self._cancelled()

    def why_stop(self, output: Output, timeout: float) -> Callable[[], str | None]:
        """Return what tells why a command that begins now is to end, as long as it runs."""
        end = monotonic() + timeout

        def why() -> Literal["timeout", "cancelled", "output"] | None:
            self._tell(output.lines)
            if self.is_set():
                return "cancelled"
            if output.size > self._most_output:
                return "output"
            return "timeout" if monotonic() > end else None

        return why

    def _tell(self, lines: int) -> None:
        now = monotonic()
        if lines != self._progress.done and now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._progress.update(lines)


class ScriptEnvironment(Protocol):
    """Where a command runs, made anew for each."""

    def run(self, task: Task, output: Output, control: Control, temporary: Path) -> Ran:
        """Get ready, run a command, and leave nothing behind.

        Args:
            task: What to run.
            output: Gets what it writes.
            control: Says when it is to end.
            temporary: A folder for as long as it runs.

        Raises:
            ClusterError: It cannot be run; it says why.
        """
        ...
