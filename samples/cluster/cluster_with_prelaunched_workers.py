"""Workers that run already: you launch them, and the manager connects them to a queue.

    python samples/cluster/cluster_with_prelaunched_workers.py

No node is involved, so nobody launches a worker anew that dies; and the class of a worker may stand
in the script itself.
"""

from collections import Counter
from contextlib import ExitStack
from threading import Event
from typing import Any

from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Worker
from mindtrace.jobs import JobSchema, job_from_schema


class Text(BaseModel):
    """What the worker is told."""

    message: str


class UppercaseWorker(Worker):
    """Says it louder."""

    def start(self) -> None:
        """Prepare; called once the worker is connected."""
        super().start()
        self.mark = "!"

    def _run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        message = job_dict["message"]
        Event().wait(0.05)  # it takes its time, so that there is something to share
        return {"status": "completed", "output": {"uppercased": message.upper() + self.mark}}


UPPERCASE = JobSchema(name="uppercase", input_schema=Text)


def main() -> None:
    """Launch two workers, and have them share forty jobs."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterManager.launch(port=0))
        workers = [stack.enter_context(UppercaseWorker.launch(port=0)) for _ in range(2)]
        for worker in workers:
            cluster.register_job_to_worker(job_type="uppercase", worker_url=str(worker.url))

        # a worker can also be called directly, as every service can
        answer = workers[0].run(job_dict={"message": "directly"})
        print(f"directly: {answer['output']}")

        jobs = [job_from_schema(UPPERCASE, Text(message=f"job {n}")) for n in range(40)]
        cluster.submit_jobs(jobs=jobs)  # many in one call
        done = [cluster.wait_for_job(job_id=job.id) for job in jobs]
        print(f"the last of {len(done)}: {done[-1].status}, {done[-1].output}")

        shares = Counter(status.worker_id for status in done)
        print(f"run by {len(shares)} workers")
        for worker_id in shares:
            status = cluster.query_worker_status(worker_id=worker_id)
            print(f"  one of the type {status.worker_type!r} is {status.status}")

        cluster.clear_databases()


if __name__ == "__main__":
    main()
