"""Workers from repositories, launched by a node, and what is said when that is impossible."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cluster_support import eventually
from git_support import Origin, wheel

from mindtrace.cluster import ClusterManager, Node, StandardWorkerLauncher, Worker
from mindtrace.cluster.core.types import ProxyWorker
from mindtrace.jobs import JobSchema, job_from_schema

pytestmark = pytest.mark.process

WORKER = """
import os, sys
from mindtrace.cluster import Worker
from shop.prices import price

class Clerk(Worker):
    def __init__(self, *, currency="?", **kwargs):
        super().__init__(**kwargs)
        self.currency = currency

    def _run(self, job_dict):
        import tiny
        return {
            "price": f"{price(job_dict['thing'])} {self.currency}",
            "pid": os.getpid(),
            "folder": os.getcwd(),
            "prefix": sys.prefix,
            "tiny": tiny.value,
        }
"""


class Place:
    """A cluster with a node, and a repository."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.cache = folder / "root" / "git"
        self.origin = Origin(folder / "origin")
        tiny = wheel(folder, "tiny", "1.0", tiny="value = 'installed'")
        self.first = self.origin.commit(
            {
                "worker/requirements.txt": f"tiny @ file://{tiny}\n",
                "worker/shop/workers.py": WORKER,
                "worker/shop/prices.py": "def price(thing): return 1",
            }
        )
        self.cluster: Any = ClusterManager.launch(host="localhost", port=0, progress_bar=False)
        stack.callback(self.cluster.end)
        self.node: Any = Node.launch(
            host="localhost", port=0, cluster_url=str(self.cluster.url), progress_bar=False
        )
        stack.callback(self.node.end)

    def register(self, name: str, worker_class: str = "shop.workers.Clerk", **git: str) -> None:
        self.cluster.register_worker_type(
            worker_name=name,
            worker_class=worker_class,
            worker_params={"currency": "EUR"},
            job_type=name,
            **{"git_repo_url": self.origin.url, "git_working_dir": "worker", **git},
        )

    def launched(self, name: str) -> Any:
        """Launch, and return the status in the end."""
        url = str(self.node.url)
        launch = self.cluster.launch_worker(node_url=url, worker_type=name)

        def status() -> Any:
            return self.cluster.launch_worker_status(node_url=url, launch_id=launch.launch_id)

        eventually(lambda: status().status in ("ready", "failed"), within=60)
        return status()

    def answer(self, name: str) -> Any:
        """Run a job, and return what came out."""
        job = job_from_schema(JobSchema(name=name), {"thing": "apple"})
        self.cluster.submit_job(job)
        done = self.cluster.wait_for_job(job_id=job.id, timeout=60)
        assert done.status == "completed", done
        return done.output

    def checkouts(self) -> list[Path]:
        return [each for each in self.cache.glob("checkouts/*") if each.is_dir()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(folder / "root"))
        patch.setenv("UV_OFFLINE", "1")
        yield Place(stack, folder)


def test_a_worker_runs_in_its_checkout_and_does_so_again_when_it_was_killed(place: Place) -> None:
    place.register("clerk", git_branch="main")

    status = place.launched("clerk")

    assert status.status == "ready", status
    (checkout,) = place.checkouts()
    before = place.answer("clerk")
    assert before["price"] == "1 EUR"
    assert before["tiny"] == "installed"
    assert before["folder"] == str(checkout / "worker")
    assert Path(before["prefix"]).parent == place.cache / "environments"
    with Worker.connect(status.worker_url).only_talking() as client:
        assert client.class_name().class_name == "Clerk"

    place.origin.commit({"worker/shop/prices.py": "def price(thing): return 2"})
    os.kill(before["pid"], signal.SIGKILL)
    after = place.answer("clerk")

    assert after["pid"] != before["pid"]
    assert {**after, "pid": 0} == {**before, "pid": 0}
    place.node.shutdown_worker(worker_name="clerk")
    assert place.checkouts() == []


@pytest.mark.parametrize(
    ("git", "problem"),
    [
        ({"git_repo_url": "file:///nowhere"}, "file:///nowhere cannot be checked out: "),
        ({"git_branch": "nowhere"}, "it has no branch or tag 'nowhere'"),
        ({"git_commit": "0" * 40}, "it has no commit 00000"),
        ({"git_branch": "--upload-pack=id"}, "is no name of a branch or a tag"),
        ({"git_working_dir": "../.."}, "The working folder '../..' cannot be used: it must lie in"),
        ({"git_working_dir": "nowhere"}, "it has no folder 'nowhere'"),
        ({"git_project": "worker/shop"}, "has neither a pyproject.toml nor a requirements.txt"),
        ({"worker_class": "shop.workers.Nobody"}, "'shop.workers' has no 'Nobody'"),
    ],
)
def test_what_cannot_be_launched_fails_and_says_why(
    place: Place, git: dict[str, str], problem: str
) -> None:
    before = len(place.checkouts())
    place.register("impossible", **git)

    status = place.launched("impossible")

    assert status.status == "failed"
    assert problem in status.error
    eventually(lambda: len(place.checkouts()) == before)


def test_a_launcher_alone_launches_from_a_repository(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__GIT_FOLDER", str(place.cache))
    launcher = StandardWorkerLauncher(f"file://{tmp_path}")
    worker = ProxyWorker(
        worker_type="shop.workers.Clerk",
        worker_params={"currency": "CHF"},
        git_repo_url=place.origin.url,
        git_branch="main",
        git_commit=place.first,
        git_working_dir="worker",
    )
    place.origin.commit({"worker/shop/prices.py": "def price(thing): return 3"})
    launcher.save("clerk", worker)

    client = launcher.launch("clerk", "http://localhost:0")
    try:
        assert client.run({"thing": "apple"})["output"]["price"] == "1 CHF"
    finally:
        client.end()
