"""Quick start: a manager, a node, a worker on it, and a job.

    python samples/cluster/quickstart.py [PORT]

Nothing has to be installed or running. Manager, node and worker listen on three ports that follow
each other, from 8002 on unless another is given.
"""

import sys

from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Node
from mindtrace.jobs import JobSchema, job_from_schema


class EchoInput(BaseModel):
    """What the worker is told."""

    message: str
    delay: int = 0


echo_job_schema = JobSchema(name="echo_job", input_schema=EchoInput)


def main(port: int) -> None:
    """Launch everything, run one job, and end everything."""
    # Launch the cluster manager service
    cluster = ClusterManager.launch(host="localhost", port=port, wait_for_launch=True)

    # Launch a node service that will host workers
    node = Node.launch(
        host="localhost", port=port + 1, cluster_url=str(cluster.url), wait_for_launch=True
    )

    # Register a worker type and connect it to the job schema
    cluster.register_worker_type(
        worker_name="echo_worker",
        worker_class="mindtrace.cluster.workers.echo_worker.EchoWorker",
        worker_params={},
        job_type="echo_job",
    )

    # Launch the worker on the node: this begins, and `launch_worker_status` tells how far it is
    launch = cluster.launch_worker(
        node_url=str(node.url),
        worker_type="echo_worker",
        worker_url=f"http://localhost:{port + 2}",
    )
    status = cluster.launch_worker_status(node_url=str(node.url), launch_id=launch.launch_id)
    print(f"launch: {status.status}")

    # Submit a job: it is safe from now on, and waits for the worker
    job = job_from_schema(echo_job_schema, {"message": "Hello cluster", "delay": 0})
    job_status = cluster.submit_job(job)
    print(f"job: {job_status.status}")

    job_status = cluster.wait_for_job(job_id=job.id, timeout=60)
    print(f"job: {job_status.status}, {job_status.output}")

    node.shutdown()  # its workers with it
    cluster.clear_databases()  # a manager on the same port would know this job
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8002)
