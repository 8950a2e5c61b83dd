"""A worker that says when it began a job, and ends it when it may."""

import os
from pathlib import Path
from threading import Event
from time import monotonic_ns
from typing import Any

from pydantic import BaseModel

from mindtrace.cluster import Worker
from mindtrace.jobs import JobSchema


class Hold(BaseModel):
    """A job that is held.

    Attributes:
        begun: the file that gets a line for each run: the process, and when it began.
        gate: the file that lets it end.
    """

    begun: Path
    gate: Path

    def runs(self) -> list[tuple[int, int]]:
        """Return process and time in nanoseconds of each run so far."""
        lines = self.begun.read_text(encoding="ascii").splitlines() if self.begun.exists() else []
        return [(int(pid), int(began)) for pid, began in map(str.split, lines)]


SCHEMA = JobSchema(name="hold", input_schema=Hold)


class HoldingWorker(Worker):
    """Holds a job until there is a file."""

    def _run(self, job_dict: dict[str, Any]) -> None:
        began = monotonic_ns()
        job = Hold.model_validate(job_dict)
        with job.begun.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()} {began}\n")
        while not job.gate.exists():
            Event().wait(0.02)
