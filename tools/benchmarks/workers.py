"""A worker of another library while it consumes: watched through a pipe, and ended for certain."""

import os
import select
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from tools.commands import ROOT

LOOK = 0.5
"""Seconds between two looks whether a worker that says nothing has ended."""


class SilentWorkerError(Exception):
    """A worker did not tell that it was done."""


class Report:
    """A named pipe into which a worker writes the times of its first and its last job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # both ways, so that neither side waits for the other one
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def seconds(self, worker: "subprocess.Popen[bytes]", patience: float) -> float:
        """Wait for both times; return the seconds between them.

        Raises:
            SilentWorkerError: the worker ended before its last job, or is silent for too long.
        """
        end = monotonic() + patience
        said = b""
        while said.count(b"\n") < 2:  # noqa: PLR2004 - the first and the last
            ready, _, _ = select.select([self._pipe], [], [], LOOK)
            if ready:
                said += os.read(self._pipe, 1024)
            elif worker.poll() is not None or monotonic() > end:
                why = "ended" if worker.poll() is not None else f"is not done in {patience:.0f} s"
                raise SilentWorkerError(f"the worker {why}")
        first, last = said.split()
        return (int(last) - int(first)) / 1e9

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Generator["subprocess.Popen[bytes]"]:
    """Start a worker; kill it with all its processes at the end."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        ) as worker,
    ):
        try:
            yield worker
        finally:
            with suppress(ProcessLookupError):  # it has ended, and what it started too
                os.killpg(worker.pid, signal.SIGKILL)
