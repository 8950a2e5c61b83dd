"""Workers from Git: a node checks a repository out, and launches the worker that is in it.

    python samples/cluster/worker_from_git.py

The class is installed nowhere. The repository is one that the sample makes on disk, in place of
yours at `https://...`; it takes the program git, and `mindtrace-cluster[git]`.
"""

import subprocess
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from mindtrace.cluster import ClusterManager, Node
from mindtrace.jobs import JobSchema, job_from_schema

PRICE = JobSchema(name="price")
WORKER = '''
from mindtrace.cluster import Worker
from prices import price


class Clerk(Worker):
    """Knows what things cost."""

    def _run(self, job_dict):
        return {"status": "completed", "output": {"price": price(job_dict["thing"])}}
'''


class Repository:
    """A repository on disk, with a worker in its folder `worker`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = folder.as_uri()
        self._git("init", "--quiet", "--initial-branch", "main")

    def commit(self, **modules: str) -> str:
        """Write modules into the folder of the worker, and return the commit."""
        for name, text in modules.items():
            file = self._folder / "worker" / f"{name}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        self._git("add", ".")
        self._git("commit", "--quiet", "--message", "Change what things cost")
        return self._git("rev-parse", "HEAD")

    def _git(self, *words: str) -> str:
        author = ("-c", "user.name=A Sample", "-c", "user.email=sample@localhost")
        command = ["git", "-C", str(self._folder), *author, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - the words are ours


def register(cluster: Any, repository: Repository, **which: str) -> None:
    """Describe the worker type, in place of how it was described before."""
    cluster.register_worker_type(
        worker_name="clerk",
        worker_class="clerk.Clerk",
        worker_params={},
        job_type=PRICE.name,
        git_repo_url=repository.url,
        git_working_dir="worker",
        **which,
    )


def launched(cluster: Any, node: Any) -> Any:
    """Launch a worker, and return the status of the launch when it is over."""
    launch = cluster.launch_worker(node_url=str(node.url), worker_type="clerk")
    while True:
        status = cluster.launch_worker_status(node_url=str(node.url), launch_id=launch.launch_id)
        if status.status in {"ready", "failed"}:
            return status
        Event().wait(0.1)


def price(cluster: Any, node: Any) -> Any:
    """Launch a worker, have it run one job, and end it."""
    worker = launched(cluster, node)
    if worker.error:
        return worker.error
    job = job_from_schema(PRICE, {"thing": "an apple"})
    cluster.submit_job(job)
    status = cluster.wait_for_job(job_id=job.id, timeout=60)
    node.shutdown_worker(worker_name=worker.worker_name)
    return status.output


def main() -> None:
    """Follow a branch, then stay with a commit."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        repository = Repository(folder)
        first = repository.commit(clerk=WORKER, prices="def price(thing): return 1")

        cluster = stack.enter_context(ClusterManager.launch(port=0))
        node = stack.enter_context(Node.launch(port=0, cluster_url=str(cluster.url)))

        register(cluster, repository, git_branch="main")
        print(f"main: {price(cluster, node)}")

        repository.commit(prices="def price(thing): return 2")
        print(f"main, after a commit: {price(cluster, node)}")

        register(cluster, repository, git_commit=first)
        print(f"the first commit: {price(cluster, node)}")

        register(cluster, repository, git_branch="no-such-branch")
        print(f"no such branch: {price(cluster, node)}")

        cluster.clear_databases()


if __name__ == "__main__":
    main()
