"""Child processes that always end: with the block that started them, and with this process.

A child says what it has to say in lines of text, and reads its orders the same way; when its
standard input ends, it ends.
"""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from tools.commands import ROOT

PATIENCE = 60.0
"""Seconds after which a silent child is taken for broken."""


class Child:
    """A process that is spoken to in lines."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        # a group of its own: Ctrl-C ends this process, which then ends its children
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin
        self._answers = self._process.stdout
        self._rest = b""

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def say(self, order: str) -> None:
        """Send one line."""
        self._orders.write(order.encode() + b"\n")

    def hear(self, patience: float = PATIENCE) -> str:
        """Return the next line it says.

        Raises:
            RuntimeError: it ended, or says nothing for too long.
        """
        end = monotonic() + patience
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - monotonic()))
            more = os.read(self._answers.fileno(), 65536) if ready else b""
            if not more:
                why = "ended" if ready else f"said nothing for {patience:.0f} s"
                message = f"the process of this benchmark {why}: {self._process.args}"
                raise RuntimeError(message)
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def kill(self) -> None:
        """End it at once, without a chance to clean up."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        """Return the running child."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it: it may leave by itself for a second."""
        self._orders.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            self._answers.close()


def python(module: str, *arguments: str) -> Child:
    """Start a module of this folder in a process of its own."""
    return Child([sys.executable, "-m", f"tools.benchmarks.{module}", *arguments])


def pause(seconds: float) -> None:
    """Wait, while nothing is to be done but waiting."""
    threading.Event().wait(seconds)
