"""The stage: clusters in a place, and beside them the jobs alone."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, ClassVar

from mindtrace.cluster import ClusterManager, Node
from mindtrace.jobs import Job, JobSchema, Orchestrator, job_from_schema
from mindtrace.services.samples.echo_service import EchoInput
from tools.benchmarks.children import pause
from tools.benchmarks.cluster.places import PLACES, Place, jobs_alone
from tools.benchmarks.payload import QUEUE, SCHEMA, Shot, shots
from tools.benchmarks.settings import Settings
from tools.benchmarks.stage import told

PATIENCE = 120.0
ECHO = "mindtrace.cluster.workers.echo_worker.EchoWorker"
ECHO_SCHEMA = JobSchema(name="echo_job", input_schema=EchoInput)
MESSAGE = "x" * 200


class ClusterStage:
    """A manager and a node in a place, and beside them what carries their jobs."""

    folder: ClassVar[str] = "cluster"
    measures: ClassVar[tuple[str, ...]] = (
        *("quick_start", "latency", "throughput", "takeover", "memory"),
    )
    note = """\
There is one manager, one node and one EchoWorker. Jobs alone is the same queue without a cluster:
an orchestrator here, a consumer with an empty handler in a process of its own, outcomes kept."""
    place: ClassVar[str]

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """The stack ends what the stage starts."""
        self.settings = settings
        self.where: Place = PLACES[self.place](settings, stack)

    def facts(self) -> dict[str, str | int | float]:
        """Return what the numbers depend on, beside the machine."""
        return self.where.facts()

    @contextmanager
    def cluster(self) -> Generator["Cluster"]:
        """Launch a manager and a node in a new place; they end with the block."""
        with self.where.opened() as folder, ExitStack() as stack:
            yield Cluster(folder, stack)


class LocalCluster(ClusterStage):
    """Everything in files."""

    place = "local"
    measures = (*ClusterStage.measures, "git", "docker", "flood")


class RedisCluster(ClusterStage):
    """Jobs and state in Redis."""

    place = "redis"


class DistributedCluster(ClusterStage):
    """Jobs on RabbitMQ, state in Redis, worker types in an object store."""

    place = "distributed"


class Cluster:
    """A manager and a node that run.

    Attributes:
        folder: a folder of its own.
        manager: a client of the manager.
        node: a client of the node.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        # Any: the methods of a client are made from the endpoints of its service
        self.manager: Any = ClusterManager.launch(host="127.0.0.1", port=0, progress_bar=False)
        stack.callback(self.manager.end)
        self.node: Any = Node.launch(
            host="127.0.0.1", port=0, cluster_url=str(self.manager.url), progress_bar=False
        )
        stack.callback(self.node.end)

    def with_echo(self) -> "Cluster":
        """Have an EchoWorker on the node; return when it is ready."""
        self.launch(ECHO, ECHO_SCHEMA.name)
        return self

    def launch(self, worker_class: str, job_type: str) -> None:
        """Have a worker on the node, connected to the queue of a job type."""
        self.manager.register_worker_type(
            worker_name=job_type, worker_class=worker_class, job_type=job_type
        )
        launched = self.manager.launch_worker(node_url=str(self.node.url), worker_type=job_type)
        end = monotonic() + PATIENCE
        while (found := self._launch_status(launched)).status != "ready":
            if found.status == "failed" or monotonic() > end:
                message = f"the worker was not launched: {found}"
                raise RuntimeError(message)
            pause(0.05)

    def _launch_status(self, launched: Any) -> Any:
        return self.node.launch_worker_status(launch_id=launched.launch_id)

    def one(self, _: int) -> float:
        """Have one job done; return the seconds until that was known here."""
        job = echo_job()
        began = perf_counter()
        self.manager.submit_job(job)
        self.finished(job)
        return perf_counter() - began

    def burst(self, count: int) -> float:
        """Submit jobs in one call; return the seconds until the last was known to be done.

        With one worker and a queue that is first in, first out, all are done by then.
        """
        jobs = [echo_job() for _ in range(count)]
        began = perf_counter()
        self.manager.submit_jobs(jobs=jobs)
        self.finished(jobs[-1])
        return perf_counter() - began

    def finished(self, job: Job) -> None:
        """Wait until a job has been completed."""
        found = self.manager.wait_for_job(job_id=job.id, timeout=PATIENCE)
        if found.status != "completed":
            message = f"a job of this benchmark was not completed: {found}"
            raise RuntimeError(message)

    def jobs_alone(self, mode: str) -> "JobsAlone":
        """Open what carries the jobs of this cluster, without it; `mode` is the consumer's."""
        return JobsAlone(self.folder, mode, self._stack)


class JobsAlone:
    """An orchestrator, and a consumer in another process, where a cluster has its jobs."""

    def __init__(self, folder: Path, mode: str, stack: ExitStack) -> None:
        client = jobs_alone(folder)
        self._orchestrator = Orchestrator(client)
        stack.callback(self._orchestrator.close)
        self._orchestrator.register(SCHEMA)
        self._child = stack.enter_context(told(client.consumer_backend_args, "our_child", mode))

    def one(self, number: int) -> float:
        """Have one job done; return the seconds until its result was read."""
        shot = Shot(number=number)
        began = perf_counter()
        self._orchestrator.submit(SCHEMA, shot).result(timeout=PATIENCE)
        took = perf_counter() - began
        self._child.hear()
        return took

    def burst(self, count: int) -> float:
        """Publish jobs in one call; return the seconds until the last was consumed."""
        inputs = shots(count)
        self._child.say(str(count))
        began = perf_counter()
        self._orchestrator.publish_many(QUEUE, inputs, keep_result=True)
        self._child.hear()
        return perf_counter() - began


def echo_job() -> Job:
    """Return a new job of the EchoWorker."""
    return job_from_schema(ECHO_SCHEMA, {"message": MESSAGE, "delay": 0})
