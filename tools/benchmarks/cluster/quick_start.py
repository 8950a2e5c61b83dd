"""The quick start of the cluster's documentation, until the result of its job is printed.

It takes the ports of the manager, the node and the worker as its arguments.
"""

import sys
from typing import Any

from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Node
from mindtrace.jobs import JobSchema, job_from_schema


class EchoInput(BaseModel):
    """What to say, and after how long."""

    message: str
    delay: int = 0


echo_job_schema = JobSchema(name="echo_job", input_schema=EchoInput)


def main(manager_port: int, node_port: int, worker_port: int) -> None:
    """Launch a cluster, and have one job done."""
    # Any: the methods of a client are made from the endpoints of its service
    cluster: Any = ClusterManager.launch(host="localhost", port=manager_port, wait_for_launch=True)
    node: Any = Node.launch(
        host="localhost", port=node_port, cluster_url=str(cluster.url), wait_for_launch=True
    )
    cluster.register_worker_type(
        worker_name="echo_worker",
        worker_class="mindtrace.cluster.workers.echo_worker.EchoWorker",
        worker_params={},
        job_type="echo_job",
    )
    cluster.launch_worker(
        node_url=str(node.url),
        worker_type="echo_worker",
        worker_url=f"http://localhost:{worker_port}",
    )
    job = job_from_schema(echo_job_schema, {"message": "Hello cluster", "delay": 0})
    cluster.submit_job(job)
    print(cluster.wait_for_job(job_id=job.id, timeout=60).status, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
