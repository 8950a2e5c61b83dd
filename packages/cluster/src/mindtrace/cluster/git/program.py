"""Programs that work for us: what they say, how long they may take, what makes them give up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from typing import IO, Protocol

_LOOK_EVERY = 0.1
"""Seconds between looks at whether it is to be stopped."""

_READ_WITHIN = 10.0
"""Seconds for what a program wrote that has ended; a busy machine may take some."""


class GivenUpError(Exception):
    """Says that a program was ended before it was done."""


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def communicate(self, *, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Return what it writes until it ends."""
        ...

    def poll(self) -> int | None:
        """Return how it ended; None if it runs."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a piece of work may take, and the event that makes it give up at once."""

    within: float
    stop: Event = field(default_factory=Event)

    def ends(self) -> float:
        """Return when it is over, if it begins now."""
        return monotonic() + self.within

    def check(self, end: float) -> None:
        """Return if it goes on.

        Raises:
            GivenUpError: It does not.
        """
        if self.stop.is_set():
            message = "it was stopped"
            raise GivenUpError(message)
        if monotonic() > end:
            message = f"it took longer than {self.within:g} s"
            raise GivenUpError(message)


def output_of(process: Process, patience: Patience) -> tuple[str, str]:
    """Wait until a program has ended, and return what it wrote to stdout and stderr.

    It leads a session of its own, and what it started ends with it.

    Raises:
        GivenUpError: It took too long, or was to be stopped; it is killed.
    """
    end = patience.ends()
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return _texts(*process.communicate(timeout=_LOOK_EVERY))
            patience.check(end)
        return _rest(process)
    finally:
        if any(not each.closed for each in _pipes(process)):
            give_up(process)


def _rest(process: Process) -> tuple[str, str]:
    """Return what a program wrote that has ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return _texts(*process.communicate(timeout=_LOOK_EVERY))
    # what it left running has its output open, and may have so for ever
    _kill(process)
    try:
        return _texts(*process.communicate(timeout=_READ_WITHIN))
    except subprocess.TimeoutExpired as late:  # that is in a session of its own
        return _texts(late.output, late.stderr)


def _texts(*parts: bytes | None) -> tuple[str, str]:
    output, errors = ((part or b"").decode("utf-8", "replace") for part in parts)
    return output, errors


def _pipes(process: Process) -> list[IO[bytes]]:
    return [each for each in (process.stdout, process.stderr) if each is not None]


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def give_up(process: Process) -> None:
    """Kill a program of which nobody wants to know any more, and what it started."""
    _kill(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=1.0)
    for each in _pipes(process):
        each.close()
