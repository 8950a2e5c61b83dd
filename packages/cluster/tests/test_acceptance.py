"""Every call of the document that defines the cluster, on one machine and on three servers."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cluster_support import eventually
from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Node, Worker
from mindtrace.cluster.core.types import JobStatusEnum, LaunchStatusEnum, WorkerStatusEnum
from mindtrace.cluster.workers.echo_worker import EchoWorker
from mindtrace.jobs import JobSchema, job_from_schema
from mindtrace.services import ServiceError
from mindtrace.services.samples.echo_service import EchoInput, EchoOutput

pytestmark = pytest.mark.process

ECHO = "mindtrace.cluster.workers.echo_worker.EchoWorker"


class Message(BaseModel):
    message: str
    delay: int = 0


echo_job_schema = JobSchema(name="echo_job", input_schema=Message)


class UppercaseWorker(Worker):
    def _run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        message = job_dict["message"]
        return {"status": "completed", "output": {"uppercased": message.upper()}}


class MyWorker(Worker):
    def start(self) -> None:
        super().start()
        self.started = getattr(self, "started", 0) + 1

    def _run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        return {"started": self.started}


class LateWorker(Worker):
    """Cannot start the first time."""

    tries = 0

    def start(self) -> None:
        self.tries += 1
        if self.tries == 1:
            raise LookupError("no camera yet")

    def _run(self, job_dict: dict[str, Any]) -> Any:
        return {"tries": self.tries}


class FailingWorker(Worker):
    def _run(self, job_dict: dict[str, Any]) -> Any:
        if job_dict["message"] == "raise":
            raise ValueError("no such thing")
        if job_dict["message"] == "ok now":
            return {"fine": True}
        return {"status": job_dict["message"], "output": {"because": "it was told to"}}


@pytest.fixture(scope="module")
def manager(place: str) -> Iterator[Any]:
    found = ClusterManager.launch(host="localhost", port=0, wait_for_launch=True)
    yield found
    found.end()


@pytest.fixture
def cluster(manager: Any) -> Iterator[Any]:
    yield manager
    manager.clear_databases()


@pytest.fixture(scope="module")
def module_node(manager: Any) -> Iterator[Any]:
    found = Node.launch(
        host="localhost", port=0, cluster_url=str(manager.url), wait_for_launch=True
    )
    yield found
    found.end()


@pytest.fixture
def node(module_node: Any) -> Iterator[Any]:
    yield module_node
    module_node.shutdown_all_workers()


@pytest.fixture
def launched() -> Iterator[Callable[[type[Worker]], Any]]:
    """What launches workers that end with the test."""
    with ExitStack() as stack:

        def launch(cls: type[Worker]) -> Any:
            worker = cls.launch(host="localhost", port=0, wait_for_launch=True)
            stack.callback(worker.end)
            return worker

        yield launch


@pytest.fixture
def echo_worker(launched: Callable[[type[Worker]], Any]) -> Any:
    return launched(EchoWorker)


def ready(cluster: Any, node: Any, launch: Any) -> Any:
    def status() -> Any:
        return cluster.launch_worker_status(node_url=str(node.url), launch_id=launch.launch_id)

    eventually(
        lambda: status().status not in (LaunchStatusEnum.PENDING, LaunchStatusEnum.RUNNING),
        within=60,
        what="the end of the launch",
    )
    return status()


def test_the_quick_start(cluster: Any, node: Any) -> None:
    cluster.register_worker_type(
        worker_name="echo_worker", worker_class=ECHO, worker_params={}, job_type="echo_job"
    )
    launch = cluster.launch_worker(node_url=str(node.url), worker_type="echo_worker")
    job = job_from_schema(echo_job_schema, {"message": "Hello cluster", "delay": 0})
    assert cluster.submit_job(job).status == "queued"

    done = cluster.wait_for_job(job_id=job.id, timeout=60)

    assert done.status is JobStatusEnum.COMPLETED
    assert str(done.status) == "completed"
    assert done.output == {"echoed": "Hello cluster"}
    found = ready(cluster, node, launch)
    assert found.status is LaunchStatusEnum.READY
    assert found.worker_id == done.worker_id
    assert found.worker_name == "echo_worker"
    assert cluster.get_worker_status(worker_id=done.worker_id).worker_url == found.worker_url
    assert cluster.query_worker_status(worker_id=done.worker_id).status is WorkerStatusEnum.IDLE
    assert [each.node_url for each in cluster.list_nodes().nodes] == [str(node.url)]
    assert cluster.status().status.value == "Available"


def test_a_job_type_goes_to_an_endpoint_behind_the_gateway(cluster: Any, echo_worker: Any) -> None:
    cluster.register_app(name="echo", url=str(echo_worker.url), connection_manager=echo_worker)
    cluster.register_job_to_endpoint(job_type="echo_job", endpoint="echo/run")
    job = job_from_schema(echo_job_schema, {"message": "direct"})

    status = cluster.submit_job(job)

    assert (str(status.status), status.output) == ("completed", {"echoed": "direct"})
    assert cluster.get_job_status(job_id=job.id).output == {"echoed": "direct"}
    assert cluster.registered_apps == ["echo"]


def test_a_job_type_goes_to_a_worker_that_runs_already(cluster: Any, echo_worker: Any) -> None:
    schema = JobSchema(name="echo_demo", input_schema=EchoInput, output_schema=EchoOutput)
    cluster.register_job_to_worker(job_type="echo_demo", worker_url=str(echo_worker.url))
    job = job_from_schema(schema, {"message": "Hello World", "delay": 0})
    cluster.submit_job(job)

    def ended() -> bool:
        return str(cluster.get_job_status(job_id=job.id).status) in ("completed", "failed", "error")

    eventually(ended)
    assert cluster.get_job_status(job_id=job.id).output == {"echoed": "Hello World"}
    worker = cluster.get_worker_status_by_url(worker_url=str(echo_worker.url))
    assert worker.worker_type == "echo_demo"
    assert echo_worker.get_status().worker_id == worker.worker_id


def test_a_job_schema_goes_to_workers_of_a_type(cluster: Any, node: Any) -> None:
    cluster.register_worker_type(worker_name="echo_worker", worker_class=ECHO, worker_params={})
    cluster.register_job_schema_to_worker_type(
        job_schema_name="echo_job", worker_type="echo_worker"
    )
    job = job_from_schema(echo_job_schema, {"message": "waits"})
    cluster.submit_job(job)
    assert cluster.get_job_status(job_id=job.id).status is JobStatusEnum.QUEUED

    ready(cluster, node, cluster.launch_worker(node_url=str(node.url), worker_type="echo_worker"))

    assert cluster.wait_for_job(job_id=job.id, timeout=30).output == {"echoed": "waits"}


def test_nodes_launch_and_end_workers(cluster: Any, node: Any) -> None:
    cluster.register_worker_type(
        worker_name="echo_worker", worker_class=ECHO, worker_params={}, job_type="echo_job"
    )
    first = node.launch_worker(worker_type="echo_worker")
    second = node.launch_worker(worker_type="echo_worker")
    third = node.launch_worker(worker_type="echo_worker", worker_name="mine")
    found = [ready(cluster, node, each) for each in (first, second, third)]

    assert [each.worker_name for each in found] == ["echo_worker", "echo_worker-2", "mine"]
    assert all(each.status is LaunchStatusEnum.READY for each in found)
    port = int(found[2].worker_url.rstrip("/").rpartition(":")[2])
    node.shutdown_worker(worker_name="echo_worker")
    node.shutdown_worker_by_id(worker_id=found[1].worker_id)
    node.shutdown_worker_by_port(worker_port=port)
    with pytest.raises(ServiceError, match="has no worker 'mine'"):
        node.shutdown_worker(worker_name="mine")

    ready(cluster, node, node.launch_worker(worker_type="echo_worker"))
    node.shutdown_all_workers()
    for each in found:
        assert cluster.query_worker_status(worker_id=each.worker_id).status == "nonexistent"


def test_a_worker_of_ones_own(cluster: Any, launched: Callable[[type[Worker]], Any]) -> None:
    worker = launched(UppercaseWorker)
    assert worker.status().status.value == "Available"
    cluster.register_job_to_worker(job_type="echo_job", worker_url=str(worker.url))
    job = job_from_schema(echo_job_schema, {"message": "quiet"})
    cluster.submit_job(job)

    assert cluster.wait_for_job(job_id=job.id).output == {"uppercased": "QUIET"}


def test_workers_of_a_type_serve_every_job_type_that_was_registered_for_it(
    cluster: Any, node: Any
) -> None:
    cluster.register_worker_type(worker_name="echo", worker_class=ECHO, job_type="echo_job")
    cluster.register_job_schema_to_worker_type(job_schema_name="other_job", worker_type="echo")
    cluster.register_job_schema_to_worker_type(job_schema_name="away", worker_type="echo")
    cluster.register_job_to_endpoint(job_type="away", endpoint="echo/run")
    jobs = [
        job_from_schema(JobSchema(name=name, input_schema=Message), {"message": name})
        for name in ("echo_job", "other_job")
    ]
    cluster.submit_jobs(jobs=jobs)

    cluster.launch_worker(node_url=str(node.url), worker_type="echo")

    found = [cluster.wait_for_job(job_id=each.id, timeout=20).output for each in jobs]
    assert found == [{"echoed": "echo_job"}, {"echoed": "other_job"}]


def test_start_runs_once_when_the_worker_is_connected(
    cluster: Any, launched: Callable[[type[Worker]], Any]
) -> None:
    worker = launched(MyWorker)
    for job_type in ("echo_job", "other_job"):
        cluster.register_job_to_worker(job_type=job_type, worker_url=str(worker.url))
    job = job_from_schema(JobSchema(name="other_job", input_schema=Message), {"message": "x"})
    cluster.submit_job(job)

    assert cluster.wait_for_job(job_id=job.id).output == {"started": 1}


def test_jobs_that_fail_can_be_looked_at_requeued_and_discarded(
    cluster: Any, launched: Callable[[type[Worker]], Any]
) -> None:
    worker = launched(FailingWorker)
    cluster.register_job_to_worker(job_type="echo_job", worker_url=str(worker.url))
    words = ("raise", "failed", "error")
    jobs = [job_from_schema(echo_job_schema, {"message": word}) for word in words]
    cluster.submit_jobs(jobs=jobs)
    statuses = [cluster.wait_for_job(job_id=each.id) for each in jobs]

    assert [str(each.status) for each in statuses] == ["failed", "failed", "error"]
    assert statuses[0].output["error"] == "no such thing"
    assert statuses[2].output == {"because": "it was told to"}
    dead = cluster.get_dlq_jobs().jobs
    assert [each.job_id for each in dead] == [each.id for each in jobs]
    assert [each.job.payload["message"] for each in dead] == list(words)

    requeued = cluster.requeue_from_dlq(job_id=jobs[1].id)
    assert requeued.status in ("queued", "running", "failed")
    eventually(lambda: len(cluster.get_dlq_jobs().jobs) == 3)
    for each in jobs:
        cluster.discard_from_dlq(job_id=each.id)
    assert cluster.get_dlq_jobs().jobs == []
    with pytest.raises(ServiceError, match=jobs[0].id):
        cluster.requeue_from_dlq(job_id=jobs[0].id)


def test_a_job_type_that_nobody_registered_ends_in_error(cluster: Any) -> None:
    job = job_from_schema(echo_job_schema, {"message": "nowhere"})

    status = cluster.submit_job(job)

    assert status.status == "error"
    assert status.output == {"error": "No job schema targeting found for job type echo_job"}
    assert cluster.get_job_status(job_id=job.id).status == "error"


def test_clearing_forgets_everything(cluster: Any, echo_worker: Any) -> None:
    cluster.register_job_to_worker(job_type="echo_job", worker_url=str(echo_worker.url))
    job = job_from_schema(echo_job_schema, {"message": "x"})
    cluster.submit_job(job)
    cluster.wait_for_job(job_id=job.id)

    cluster.clear_databases()

    with pytest.raises(ServiceError, match=job.id):
        cluster.get_job_status(job_id=job.id)
    assert cluster.list_jobs().jobs == []
    assert cluster.submit_job(job_from_schema(echo_job_schema, {"message": "y"})).status == "error"


def test_jobs_are_listed_and_cancelled(cluster: Any) -> None:
    cluster.register_job_schema_to_worker_type(job_schema_name="echo_job", worker_type="later")
    jobs = [job_from_schema(echo_job_schema, {"message": str(number)}) for number in range(5)]
    assert len(cluster.submit_jobs(jobs=jobs).jobs) == 5

    assert cluster.cancel_job(job_id=jobs[1].id).cancelled is True

    found = cluster.list_jobs(status="queued", limit=2).jobs
    assert [each.job_id for each in found] == [jobs[0].id, jobs[2].id]
    found = cluster.list_jobs(status="queued", after=found[-1].job_id).jobs
    assert [each.job_id for each in found] == [jobs[3].id, jobs[4].id]
    assert cluster.get_job_status(job_id=jobs[1].id).status == "cancelled"
    cluster.clear_job_schema_queue(job_schema_name="echo_job")
    assert cluster.list_jobs(status="queued").jobs == []


def test_a_worker_whose_start_failed_can_be_connected_again(
    cluster: Any, launched: Callable[[type[Worker]], Any]
) -> None:
    worker = launched(LateWorker)
    with pytest.raises(ServiceError, match="no camera yet"):
        cluster.register_job_to_worker(job_type="echo_job", worker_url=str(worker.url))

    cluster.register_job_to_worker(job_type="echo_job", worker_url=str(worker.url))

    job = job_from_schema(echo_job_schema, {"message": "x"})
    cluster.submit_job(job)
    assert cluster.wait_for_job(job_id=job.id).output == {"tries": 2}


def test_many_who_wait_keep_nobody_else_waiting(cluster: Any) -> None:
    """A plain endpoint has 40 threads, for all calls together."""
    cluster.register_job_schema_to_worker_type(job_schema_name="echo_job", worker_type="later")
    job = job_from_schema(echo_job_schema, {"message": "x"})
    cluster.submit_job(job)

    async def wait() -> list[str]:
        waits = [
            asyncio.create_task(cluster.await_for_job(job_id=job.id, timeout=100))
            for _ in range(60)
        ]
        await asyncio.sleep(1)  # they are under way
        status = await cluster.aget_job_status(job_id=job.id, timeout=20)
        assert status.status == "queued"
        await cluster.acancel_job(job_id=job.id, timeout=20)
        found = await asyncio.gather(*waits)
        await cluster.aclose()
        return [str(each.status) for each in found]

    assert asyncio.run(wait()) == ["cancelled"] * 60


@pytest.mark.stress
def test_a_client_waits_for_longer_than_for_other_answers(cluster: Any) -> None:
    cluster.register_job_schema_to_worker_type(job_schema_name="echo_job", worker_type="later")
    job = job_from_schema(echo_job_schema, {"message": "x"})
    cluster.submit_job(job)

    assert cluster.wait_for_job(job_id=job.id, timeout=65).status == "queued"
