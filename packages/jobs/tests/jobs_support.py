"""What several tests of the jobs package share: models, consumers of functions, child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mindtrace.jobs import Consumer, JobSchema, Orchestrator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class Pair(BaseModel):
    """What goes in."""

    a: float = 0
    b: float = 0


class Sum(BaseModel):
    """What comes out."""

    total: float


class Runner(Consumer):
    """A consumer whose handler is a function of the test."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        super().__init__()
        self.handle = run

    def run(self, job_dict: Any) -> Any:
        return self.handle(job_dict)


class AsyncRunner(Consumer):
    """A consumer whose handler is a coroutine function of the test."""

    def __init__(self, run: Callable[[Any], Awaitable[Any]]) -> None:
        super().__init__()
        self.handle = run

    async def run(self, job_dict: Any) -> Any:
        return await self.handle(job_dict)


def sums(name: str = "sums", **options: Any) -> JobSchema:
    """Return a schema from `Pair` to `Sum`."""
    return JobSchema(name=name, input_schema=Pair, output_schema=Sum, **options)


def add(job: Any) -> dict[str, float]:
    """Add, as the handler of such a schema."""
    return {"total": job["payload"]["a"] + job["payload"]["b"]}


def fail(job: Any) -> None:
    """Raise, as handlers do."""
    message = f"cannot add {job['payload']}"
    raise LookupError(message)


def nothing(_: Any) -> None:
    """Handle a job by doing nothing."""


def consumer_of(orchestrator: Orchestrator, queue: str, run: Callable[[Any], Any]) -> Consumer:
    """Return a connected consumer."""
    consumer = Runner(run)
    consumer.connect_to_orchestrator(orchestrator, queue)
    return consumer


def drain(orchestrator: Orchestrator, queue: str, run: Callable[[Any], Any] = nothing) -> int:
    """Handle what is ready, and return how many."""
    return consumer_of(orchestrator, queue, run).consume(block=False)


def start_python(code: str, *args: object, **env: str | Path) -> subprocess.Popen[str]:
    """Start a fresh interpreter on some code; its output is a pipe."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        env={**os.environ, **{name: str(value) for name, value in env.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *args: object, **env: str | Path) -> str:
    """Run code in a fresh interpreter and return what it printed; it must end well."""
    process = start_python(code, *args, **env)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.strip()
