"""What the processes of a test did, in one append-only file that outlives them.

Each line is one `write` on a descriptor opened for appending, so lines of several processes do not
mix and a line that was written stays when its writer is killed.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that one process did. `at` is the machine's monotonic time."""

    phase: str
    pid: int
    at: float
    job: str = ""
    delivery: int = 0
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


class Journal:
    """Writes lines, and reads those of all processes in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._read = 0
        self._rest = b""
        self._lines: list[Line] = []

    def write(self, phase: str, job: str = "", delivery: int = 0, **facts: Any) -> None:
        """Append one line; it is safe from the death of this process when this returns."""
        line = [phase, os.getpid(), time.monotonic(), job, delivery, facts]
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def lines(self, phase: str | None = None, pid: int | None = None) -> list[Line]:
        """Return all lines up to now, or those of one phase or process."""
        self._catch_up()
        return [
            each for each in self._lines if phase in (None, each.phase) and pid in (None, each.pid)
        ]

    def count(self, phase: str) -> int:
        """Return how many lines of a phase there are."""
        return len(self.lines(phase))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _catch_up(self) -> None:
        while chunk := os.pread(self._descriptor, 1 << 20, self._read):
            self._read += len(chunk)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            for text in whole:
                try:
                    self._lines.append(Line(*json.loads(text)))
                except ValueError:  # its writer was killed in the middle of a page
                    self.torn += 1
