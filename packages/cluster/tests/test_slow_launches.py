"""Workers that do not get ready, on a real node."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cluster_support import eventually

from mindtrace.cluster import ClusterManager, Node
from mindtrace.services import ServerStatus, ServiceError

pytestmark = pytest.mark.process


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
    manager = ClusterManager.launch(host="localhost", port=0)
    yield manager
    manager.end()


@pytest.fixture
def node(cluster: Any) -> Iterator[Any]:
    found = Node.launch(host="localhost", port=0, cluster_url=str(cluster.url))
    yield found
    found.end()


def launched(cluster: Any, node: Any, worker_class: str, job_type: str | None = None) -> str:
    cluster.register_worker_type(worker_name="slow", worker_class=worker_class, job_type=job_type)
    launch_id: str = node.launch_worker(
        worker_type="slow", auto_connect_job_type=job_type
    ).launch_id
    return launch_id


@pytest.mark.parametrize(
    ("name", "job_type"), [("slow_workers.Hangs", None), ("slow_workers.HangsAtStart", "slow")]
)
def test_one_that_does_not_get_ready_can_be_shut_down(
    cluster: Any, node: Any, name: str, job_type: str | None
) -> None:
    launch_id = launched(cluster, node, name, job_type)

    def status() -> Any:
        return node.launch_worker_status(launch_id=launch_id)

    eventually(lambda: status().status == "running")
    if job_type is not None:
        # asked each time: the node takes another port if this one was taken meanwhile
        eventually(lambda: Node.status_at_host(status().worker_url) is ServerStatus.AVAILABLE)

    began = monotonic()
    node.shutdown_worker(worker_name="slow", timeout=50)

    assert monotonic() - began < 40
    found = status()
    assert (found.status, found.error) == ("failed", "it was shut down before it was ready")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "slow_workers.NoSuch",
            (
                "NoSuch did not start: 'slow_workers.NoSuch' cannot be imported: 'slow_workers' "
                "has no 'NoSuch'."
            ),
        ),
        (
            "no_such_module.Worker",
            (
                "Worker did not start: 'no_such_module.Worker' cannot be imported: there is no "
                "module 'no_such_module'."
            ),
        ),
        (
            "slow_workers.NoWorker",
            (
                "NoWorker did not start: slow_workers.NoWorker is no Worker: it does not derive "
                "from Worker."
            ),
        ),
    ],
)
def test_one_whose_class_is_none_is_told_in_a_sentence(
    cluster: Any, node: Any, name: str, says: str
) -> None:
    assert failure(cluster, node, name) == says


def test_one_that_cannot_be_made_is_told_with_its_last_lines(cluster: Any, node: Any) -> None:
    said = failure(cluster, node, "slow_workers.Raises")

    assert said.splitlines()[0] == "Raises did not start: LookupError: no camera."
    assert said.splitlines()[-1] == "LookupError: no camera"


def test_one_that_ends_its_process_does_not_end_the_node(cluster: Any, node: Any) -> None:
    assert "Exits did not start" in failure(cluster, node, "slow_workers.Exits")
    assert [str(each.status) for each in cluster.list_nodes().nodes] == ["alive"]


def test_what_a_node_says_is_wrong_is_passed_on(cluster: Any, node: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        cluster.launch_worker_status(node_url=str(node.url), launch_id="unknown")

    assert caught.value.remote_message == (
        f"the node at {node.url} says: this node knows of no launch 'unknown'"
    )


def test_no_worker_is_ended_by_an_id_that_none_has(cluster: Any, node: Any) -> None:
    """One that is not up has none yet."""
    launch_id = launched(cluster, node, "slow_workers.Hangs")

    with pytest.raises(ServiceError, match="this node has no worker ''"):
        node.shutdown_worker_by_id(worker_id="")

    assert node.launch_worker_status(launch_id=launch_id).status != "failed"


@pytest.mark.stress
def test_one_may_take_longer_to_start_than_a_call_usually_takes(cluster: Any, node: Any) -> None:
    launch_id = launched(cluster, node, "slow_workers.StartsInAMinute", "slow")

    def word() -> str:
        return str(node.launch_worker_status(launch_id=launch_id).status)

    eventually(lambda: word() in {"ready", "failed"}, within=120)
    assert word() == "ready"


def failure(cluster: Any, node: Any, worker_class: str) -> str:
    """Launch a worker that fails, and return what is said of it."""
    launch_id = launched(cluster, node, worker_class)
    eventually(lambda: node.launch_worker_status(launch_id=launch_id).status == "failed")
    said: str = node.launch_worker_status(launch_id=launch_id).error
    return said
