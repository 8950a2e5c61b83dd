"""A worker whose jobs wait at a gate."""

import os
from pathlib import Path
from threading import Event
from typing import Any

from pydantic import BaseModel

from mindtrace.cluster import Worker
from mindtrace.jobs import JobSchema


class Gate(BaseModel):
    gate: str
    begun: str


SCHEMA = JobSchema(name="gates", input_schema=Gate)


class GateWorker(Worker):
    """Waits until there is a file; says in another one that it has begun."""

    def _run(self, job_dict: dict[str, Any]) -> Any:
        with Path(job_dict["begun"]).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        while not Path(job_dict["gate"]).exists():
            Event().wait(0.02)
        return {"pid": os.getpid()}
