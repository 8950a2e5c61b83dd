"""Nodes: a worker that a node launches is connected to its queue, and launched anew when it dies.

    python samples/cluster/node_auto_connect.py

Jobs may be there before any worker is. The ports of the workers are the node's choice.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

from mindtrace.cluster import ClusterManager, Node
from mindtrace.cluster.workers.echo_worker import EchoWorker
from mindtrace.jobs import JobSchema, job_from_schema

if TYPE_CHECKING:
    from collections.abc import Callable

ECHO = JobSchema(name="echo")
DEADLINE = 60.0


def until(condition: Callable[[], object]) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: It did not within a minute.
    """
    end = monotonic() + DEADLINE
    while not condition():
        if monotonic() > end:
            raise TimeoutError
        Event().wait(0.1)


def launched(cluster: Any, node: Any, **what: str) -> Any:
    """Launch a worker on a node, and return its status when that is no longer under way."""
    launch = cluster.launch_worker(node_url=str(node.url), **what)

    def status() -> Any:
        return cluster.launch_worker_status(node_url=str(node.url), launch_id=launch.launch_id)

    until(lambda: status().status in {"ready", "failed"})
    return status()


def kill(worker_url: str) -> None:
    """Kill a worker of this machine, as running out of memory would."""
    with EchoWorker.connect(worker_url).only_talking() as worker:
        file = Path(worker.pid_file().pid_file)
    os.kill(int(file.read_text()), signal.SIGKILL)


def run(cluster: Any, message: str) -> str:
    """Run a job, and tell how it went."""
    job = job_from_schema(ECHO, {"message": message})
    cluster.submit_job(job)
    status = cluster.wait_for_job(job_id=job.id, timeout=DEADLINE)
    return f"{status.status}, {status.output}"


def main() -> None:
    """Let workers of a node come, die, come back, and go."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterManager.launch(port=0))
        node = stack.enter_context(Node.launch(port=0, cluster_url=str(cluster.url)))

        # which class the workers of a type have, and which jobs they get: in two steps here
        cluster.register_worker_type(
            worker_name="echo_worker",
            worker_class="mindtrace.cluster.workers.echo_worker.EchoWorker",
            worker_params={"concurrency": 2},
        )
        cluster.register_job_schema_to_worker_type(
            job_schema_name="echo", worker_type="echo_worker"
        )

        early = job_from_schema(ECHO, {"message": "early"})
        print(f"before any worker is there: {cluster.submit_job(early).status}")
        first = launched(cluster, node, worker_type="echo_worker")
        print(f"{first.worker_name} is {first.status}")
        print(f"the early job: {cluster.wait_for_job(job_id=early.id).status}")

        second = launched(cluster, node, worker_type="echo_worker", worker_name="mine")
        known = {each.node_url: each for each in cluster.list_nodes().nodes}
        workers = known[str(node.url)].workers
        print(f"on the node: {', '.join(sorted(each.worker_name for each in workers))}")

        # a launch that cannot succeed says why
        cluster.register_worker_type(worker_name="odd", worker_class="no_such_module.Worker")
        print(f"odd: {launched(cluster, node, worker_type='odd').error}")

        # one on purpose, which does not come back; one by force, which does
        node.shutdown_worker(worker_name=second.worker_name)
        kill(first.worker_url)
        print(f"after a kill: {run(cluster, 'still here')}")

        cluster.clear_databases()


if __name__ == "__main__":
    main()
