"""Dead letters: what failed waits until somebody requeues or discards it.

    python samples/cluster/dead_letters.py [--ask]

With --ask you are the one who decides, at the terminal.
"""

import sys
from contextlib import ExitStack
from typing import Any

from mindtrace.cluster import ClusterManager, Worker
from mindtrace.cluster.core.dlq import process_dlq
from mindtrace.jobs import JobSchema, job_from_schema

SCALE = JobSchema(name="scale")


class Scale(Worker):
    """Weighs things, but not the first time that it is asked: it has to warm up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked: set[str] = set()

    def _run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        thing = job_dict["thing"]
        if thing not in self.asked:
            self.asked.add(thing)
            return {"status": "failed", "output": {"because": f"{thing} came too early"}}
        return {"status": "completed", "output": {"weighed": thing}}


def main(*, asks: bool) -> None:
    """Have three jobs fail, and go through them."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterManager.launch(port=0))
        worker = stack.enter_context(Scale.launch(port=0))
        cluster.register_job_to_worker(job_type="scale", worker_url=str(worker.url))

        payloads = [{"thing": "an apple"}, {"thing": "a pear"}, {"name": "a mistake"}]
        jobs = [job_from_schema(SCALE, payload) for payload in payloads]
        cluster.submit_jobs(jobs=jobs)
        for job in jobs:
            cluster.wait_for_job(job_id=job.id)

        requeued = process_dlq(cluster) if asks else process(cluster)
        for each in requeued:
            status = cluster.wait_for_job(job_id=each.job_id)
            print(f"requeued: {status.status}, {status.output}")
        print(f"left: {len(cluster.get_dlq_jobs().jobs)}")
        cluster.clear_databases()


def process(cluster: Any) -> list[Any]:
    """Requeue what may succeed now, and discard what never will."""
    requeued: list[Any] = []
    for each in cluster.get_dlq_jobs().jobs:
        # what the worker returned, or the error that it raised
        because = each.output.get("because")
        why = f"because {because}" if because else "{error_type}: {error}".format(**each.output)
        print(f"{each.status}: {each.job.payload}, {why}")
        if "thing" in each.job.payload:
            requeued.append(cluster.requeue_from_dlq(job_id=each.job_id))
        else:
            cluster.discard_from_dlq(job_id=each.job_id)
    return requeued


if __name__ == "__main__":
    main(asks="--ask" in sys.argv[1:])
