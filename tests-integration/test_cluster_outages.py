"""What a cluster does while the server is away that keeps its state."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Worker
from mindtrace.jobs import Job, JobSchema, job_from_schema
from mindtrace.services import ServiceError
from tools.services.redis import RedisServer

pytestmark = [pytest.mark.process, pytest.mark.stress]


class Gate(BaseModel):
    folder: str
    number: int


SCHEMA = JobSchema(name="gates", input_schema=Gate)


class GateWorker(Worker):
    """Waits until there is a file; says in others that it has begun and ended."""

    def _run(self, job_dict: dict[str, Any]) -> Any:
        folder, number = Path(job_dict["folder"]), job_dict["number"]
        with (folder / f"begun-{number}").open("a", encoding="ascii") as file:
            file.write("x")
        while not (folder / f"gate-{number}").exists():
            Event().wait(0.02)
        (folder / f"ended-{number}").touch()
        return {"number": number}


class Cluster:
    """A manager and a worker, on a Redis that can be killed."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.manager: Any = ClusterManager.launch(host="localhost", port=0)
        self.worker: Any = GateWorker.launch(host="localhost", port=0)
        self.manager.register_job_to_worker(job_type="gates", worker_url=str(self.worker.url))

    def job(self, number: int) -> Job:
        return job_from_schema(SCHEMA, Gate(folder=str(self.folder), number=number))

    def until(self, name: str) -> None:
        end = monotonic() + 30
        while not (self.folder / name).exists():
            assert monotonic() < end, f"{name} did not come"
            Event().wait(0.02)

    def end(self) -> None:
        self.worker.end()
        self.manager.end()


@pytest.fixture(params=["state", "state and jobs", "state and the ledger of RabbitMQ"])
def cluster(
    request: pytest.FixtureRequest,
    own_redis: Callable[..., RedisServer],
    rabbitmq_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    server = own_redis()
    queues = {
        "state": f"sqlite:///{tmp_path / 'jobs'}",
        "state and jobs": server.url,
        "state and the ledger of RabbitMQ": rabbitmq_url,
    }
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MINDTRACE_CLUSTER__STATE_URL", server.url)
    monkeypatch.setenv("MINDTRACE_CLUSTER__QUEUE_URL", queues[request.param])
    found = Cluster(server, tmp_path)
    yield found
    found.end()


@pytest.mark.rabbitmq
def test_submitting_says_that_the_state_is_away_and_what_runs_ends(cluster: Cluster) -> None:
    running, refused = cluster.job(0), cluster.job(1)
    cluster.manager.submit_job(running)
    cluster.until("begun-0")

    cluster.server.kill()
    with pytest.raises(ServiceError) as caught:
        cluster.manager.submit_job(refused)
    where = f"127.0.0.1:{cluster.server.port}"
    assert re.fullmatch(
        rf"The state of the cluster at {re.escape(where)} cannot be used: "
        r"it cannot be reached \([a-z ]+\); check that it runs there\.",
        caught.value.remote_message,
    )
    (cluster.folder / "gate-0").touch()
    cluster.until("ended-0")
    cluster.server.start()

    done = cluster.manager.wait_for_job(job_id=running.id, timeout=60)
    assert (str(done.status), done.output) == ("completed", {"number": 0})
    assert (cluster.folder / "begun-0").read_text() == "x"
    cluster.manager.submit_job(refused)
    (cluster.folder / "gate-1").touch()
    assert str(cluster.manager.wait_for_job(job_id=refused.id, timeout=30).status) == "completed"
