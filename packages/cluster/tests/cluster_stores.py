"""What a manager keeps its jobs in, without a manager."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mindtrace.cluster.members import NODES, WORKERS, Members
from mindtrace.cluster.ports.state import open_state
from mindtrace.cluster.records import Records
from mindtrace.cluster.routes import ORCHESTRATOR, Routes
from mindtrace.cluster.settings import Places, open_backend
from mindtrace.cluster.submission import UNROUTED, Submission
from mindtrace.core.clock import ManualClock
from mindtrace.jobs import Consumer, Job

QUEUE = "job"


class Stores:
    """State and records, with a queue for one job type, `job`.

    The clock is that of the state; the records have that of their store.
    """

    def __init__(self, places: Places, keep: float) -> None:
        self.places = places
        self.state = open_state(places.state)
        self.clock = ManualClock(1e9)
        self.records = Records(open_backend(places), keep)
        self.routes = Routes(self.state)
        self.submission = Submission(self.records, self.routes, self.state, self.clock)
        self.members = Members(self.state, self.clock)
        self.records.declare(QUEUE)
        self.routes.set(QUEUE, ORCHESTRATOR)

    def work(self, *fails: str) -> list[str]:
        """Do what waits, and return the ids; the jobs with these ids fail."""
        done: list[str] = []

        class Worker(Consumer):
            def run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
                done.append(job_dict["id"])
                if job_dict["id"] in fails:
                    raise ValueError("no")
                return {"done": True}

        worker = Worker(QUEUE)
        worker.connect(self.records.orchestrator)
        worker.consume_until_empty()
        worker.close()
        return done

    def indexed(self) -> list[str]:
        return [each.job_id for each in self.state.indexed(0, 100)]

    def close(self) -> None:
        for queue in self.records.orchestrator.backend.store.queues():
            self.records.orchestrator.backend.delete_queue(queue)
        for kind in (
            "targets",
            "schemas",
            WORKERS,
            NODES,
            UNROUTED,
            "@jobs",
            "@numbers",
            "@number",
        ):
            self.state.clear(kind)
        self.records.close()
        self.state.close()


def jobs(count: int, name: str = QUEUE) -> list[Job]:
    return [Job(name=name, payload={"n": number}) for number in range(count)]


@contextmanager
def opened_stores(
    request: pytest.FixtureRequest, kind: str, folder: Path, keep: float
) -> Generator[Stores]:
    """Open them in files, in Redis, or on RabbitMQ and Redis."""
    places = Places(f"sqlite:///{folder / 'jobs'}", None, f"sqlite:///{folder}", "")
    if kind != "sqlite":
        name = f"test-{uuid4().hex[:10]}"
        redis = f"{request.getfixturevalue('redis_server_url')}?namespace={name}"
        places = Places(redis, None, redis, "")
        if kind == "rabbitmq":
            queue = f"{request.getfixturevalue('rabbitmq_server_url')}?namespace={name}"
            places = Places(queue, redis, redis, "")
    stores = Stores(places, keep)
    try:
        yield stores
    finally:
        stores.close()
