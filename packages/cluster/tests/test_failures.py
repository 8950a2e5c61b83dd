"""What becomes of jobs when a worker, a node or a manager is killed."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cluster_places import in_place
from cluster_support import eventually, free_port
from gate_workers import SCHEMA, Gate, GateWorker

from mindtrace.cluster import ClusterManager, Node
from mindtrace.jobs import Job, job_from_schema
from mindtrace.services import ServiceUnavailableError

pytestmark = pytest.mark.process

SERVERS = [pytest.mark.redis, pytest.mark.rabbitmq]


class Fixture:
    """A manager, nodes, and jobs that wait at a gate."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.port = free_port()
        self.cluster = self.launch_manager()

    def launch_manager(self, port: int | None = None) -> Any:
        manager = ClusterManager.launch(host="localhost", port=port or self.port)
        self.stack.callback(manager.end)
        return manager

    def node(self, manager: Any = None) -> Any:
        url = str((manager or self.cluster).url)
        node = Node.launch(host="localhost", port=0, cluster_url=url)
        self.stack.callback(node.end)
        return node

    def worker_on(self, node: Any) -> int:
        """Launch a worker, and return the number of its process."""
        self.cluster.register_worker_type(
            worker_name="gate_worker",
            worker_class="gate_workers.GateWorker",
            job_type="gates",
        )
        launch = self.cluster.launch_worker(node_url=str(node.url), worker_type="gate_worker")

        def status() -> Any:
            return node.launch_worker_status(launch_id=launch.launch_id)

        eventually(lambda: status().status in ("ready", "failed"), within=60)
        found = status()
        assert found.status == "ready", found
        client = GateWorker.connect(found.worker_url)
        pid_file = client.pid_file().pid_file
        client.close()
        return int(Path(pid_file).read_text(encoding="ascii"))

    def job(self, number: int = 0) -> Job:
        gate, begun = self.folder / f"gate-{number}", self.folder / f"begun-{number}"
        return job_from_schema(SCHEMA, Gate(gate=str(gate), begun=str(begun)))

    def begun(self, job: Job) -> list[int]:
        path = Path(job.payload.begun)
        return list(map(int, path.read_text().split())) if path.exists() else []

    def open(self, job: Job) -> None:
        Path(job.payload.gate).touch()

    def completed(self, *jobs: Job, within: float = 30) -> list[Any]:
        """Wait until jobs have been completed, and return what they gave."""
        found = [self.cluster.wait_for_job(job_id=each.id, timeout=within) for each in jobs]
        assert [str(each.status) for each in found] == ["completed"] * len(jobs), found
        return [each.output for each in found]

    def node_called(self, url: Any) -> Any:
        (found,) = [each for each in self.cluster.list_nodes().nodes if each.node_url == str(url)]
        return found


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("distributed", marks=[*SERVERS, pytest.mark.stress])],
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    yield from in_place(request, tmp_path_factory)


@pytest.fixture
def fixture(place: str, tmp_path: Path) -> Iterator[Fixture]:
    with ExitStack() as stack:
        found = Fixture(stack, tmp_path)
        yield found
        found.cluster.clear_databases()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_the_job_of_a_killed_worker_runs_again(fixture: Fixture) -> None:
    node = fixture.node()
    pid = fixture.worker_on(node)
    job = fixture.job()
    fixture.cluster.submit_job(job)
    eventually(lambda: fixture.begun(job))
    assert fixture.cluster.get_job_status(job_id=job.id).status == "running"

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(fixture.begun(job)) == 2, what="the job's second run")
    fixture.open(job)

    assert fixture.completed(job) == [{"pid": fixture.begun(job)[1]}]
    assert fixture.begun(job)[0] == pid


def test_the_jobs_of_a_killed_node_move_on(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDTRACE_SERVICES__STOP_WITHIN", "1")  # to finish the job in hand
    node = fixture.node()
    pid = fixture.worker_on(node)
    job = fixture.job()
    fixture.cluster.submit_job(job)
    eventually(lambda: fixture.begun(job) == [pid])
    other_pid = fixture.worker_on(fixture.node())

    os.kill(node.process_id, signal.SIGKILL)
    eventually(lambda: len(fixture.begun(job)) == 2, what="the job's second run")
    assert fixture.begun(job)[1] == other_pid
    eventually(lambda: not is_alive(pid), what="the end of the node's worker")
    fixture.open(job)

    assert fixture.completed(job) == [{"pid": other_pid}]


@pytest.mark.stress
def test_a_killed_node_is_shown_as_lost_within_15_seconds(fixture: Fixture) -> None:
    node, other = fixture.node(), fixture.node()
    assert fixture.node_called(node.url).status == "alive"

    os.kill(node.process_id, signal.SIGKILL)

    eventually(lambda: fixture.node_called(node.url).status == "lost", within=15)
    assert fixture.node_called(other.url).status == "alive"


def test_a_killed_manager_loses_nothing(fixture: Fixture) -> None:
    node = fixture.node()
    pid = fixture.worker_on(node)
    running, waiting = fixture.job(0), fixture.job(1)
    fixture.cluster.submit_job(running)
    eventually(lambda: fixture.begun(running))
    fixture.cluster.submit_job(waiting)

    os.kill(fixture.cluster.process_id, signal.SIGKILL)
    fixture.cluster.wait_until_ended(10)
    fixture.open(running)
    eventually(lambda: fixture.begun(waiting), what="the next job, without a manager")
    began = monotonic()
    fixture.cluster = fixture.launch_manager()
    fixture.open(waiting)

    assert fixture.completed(running, waiting) == [{"pid": pid}] * 2
    eventually(
        lambda: any(each.workers for each in fixture.cluster.list_nodes().nodes),
        within=15,
        what=f"the node's return, {monotonic() - began:.0f} s after the manager's",
    )
    again = fixture.job(2)
    fixture.cluster.submit_job(again)
    fixture.open(again)
    assert fixture.completed(again) == [{"pid": pid}]


def test_a_worker_that_cannot_start_fails_its_launch(fixture: Fixture) -> None:
    node = fixture.node()
    fixture.cluster.register_worker_type(worker_name="odd", worker_class="gate_workers.Nothing")
    for worker_type, word in (("odd", "has no 'Nothing'"), ("unknown", "no worker type 'unknown'")):
        launch = fixture.cluster.launch_worker(node_url=str(node.url), worker_type=worker_type)

        def status(launch: Any = launch) -> Any:
            return node.launch_worker_status(launch_id=launch.launch_id)

        eventually(lambda status=status: status().status == "failed")
        assert word in status().error


@pytest.mark.parametrize(
    "ends", ["is stopped", pytest.param("is killed", marks=pytest.mark.stress)]
)
def test_a_call_to_an_endpoint_is_made_again_when_its_manager(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__ANSWER_WITHIN", "0")
    monkeypatch.setenv("MINDTRACE_SERVICES__STOP_WITHIN", "1")
    fixture.cluster.end()
    fixture.cluster = fixture.launch_manager()
    worker = GateWorker.launch(host="localhost", port=0)
    fixture.stack.callback(worker.end)
    fixture.cluster.register_app(name="gate", url=str(worker.url))
    fixture.cluster.register_job_to_endpoint(job_type="gates", endpoint="gate/run")
    job = fixture.job()
    assert fixture.cluster.submit_job(job).status in ("queued", "running")
    eventually(lambda: fixture.begun(job))

    if ends == "is killed":
        os.kill(fixture.cluster.process_id, signal.SIGKILL)
    else:
        fixture.cluster.shutdown()
    assert fixture.cluster.wait_until_ended(30)
    fixture.cluster = fixture.launch_manager()
    fixture.open(job)

    fixture.completed(job, within=60)
    assert len(fixture.begun(job)) == 2
    assert fixture.cluster.get_dlq_jobs().jobs == []


@pytest.mark.stress
@pytest.mark.parametrize("place", [pytest.param("distributed", marks=SERVERS)], indirect=True)
def test_two_managers_serve_one_cluster(fixture: Fixture) -> None:
    other = fixture.launch_manager(free_port())
    node = fixture.node()
    pid = fixture.worker_on(node)
    endpoint = GateWorker.launch(host="localhost", port=0)
    fixture.stack.callback(endpoint.end)
    fixture.cluster.register_app(name="gate", url=str(endpoint.url))
    fixture.cluster.register_job_to_endpoint(job_type="direct", endpoint="gate/run")

    # what one was told, the other knows
    running, waiting, direct = fixture.job(0), fixture.job(1), fixture.job(2)
    direct.schema_name = "direct"
    other.submit_job(running)
    eventually(lambda: fixture.begun(running) == [pid])
    fixture.cluster.submit_jobs(jobs=[waiting])
    assert other.get_job_status(job_id=waiting.id).status == "queued"
    assert [each.job_id for each in other.list_jobs().jobs] == [running.id, waiting.id]
    (known,) = [each for each in other.list_nodes().nodes if each.node_url == str(node.url)]
    assert [each.worker_type for each in known.workers] == ["gate_worker"]
    fixture.open(direct)
    assert str(other.submit_job(direct).status) == "completed"

    # and one goes on without the other
    os.kill(fixture.cluster.process_id, signal.SIGKILL)
    fixture.cluster.wait_until_ended(10)
    with pytest.raises(ServiceUnavailableError):
        fixture.cluster.list_nodes()
    fixture.cluster = other
    fixture.open(running)
    fixture.open(waiting)
    assert fixture.completed(running, waiting) == [{"pid": pid}] * 2
    last = fixture.job(3)
    last.schema_name = "direct"
    fixture.open(last)
    assert str(other.submit_job(last).status) == "completed"
