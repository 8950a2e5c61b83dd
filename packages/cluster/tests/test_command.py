"""The command `mindtrace-cluster`, as a supervisor starts and stops it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cluster_support import eventually
from typer.testing import CliRunner

from mindtrace.cluster import ClusterManager
from mindtrace.cluster.__main__ import app
from mindtrace.cluster.workers.echo_worker import EchoWorker
from mindtrace.core import get_config
from mindtrace.jobs import JobSchema, job_from_schema
from mindtrace.services import ServerStatus, ServiceError

ECHO = "mindtrace.cluster.workers.echo_worker.EchoWorker"


class Command:
    """The command in a process of its own, ready when it has said so."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mindtrace.cluster", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if " is ready at " not in said:
            self.process.kill()
            raise AssertionError(said + self.process.communicate()[1])
        self.url = said.split()[-1]

    def ended(self, number: int) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(60)
        finally:
            self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def manager(root: Path) -> Iterator[Command]:
    found = Command("manager", "--port", "0")
    yield found
    found.close()


@pytest.fixture
def node(manager: Command) -> Iterator[Command]:
    found = Command(
        "node", "--cluster-url", manager.url, "--port", "0", "--worker-ports", "20300-20399"
    )
    yield found
    found.close()


def shown(*words: str) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it said, on one line."""
    done = CliRunner().invoke(app, words, env={"TERMINAL_WIDTH": "400", "NO_COLOR": "1"})
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


@pytest.mark.process
def test_a_manager_and_a_node_run_until_a_signal_comes(manager: Command, node: Command) -> None:
    cluster: Any = ClusterManager.connect(manager.url)
    cluster.register_worker_type(worker_name="echo", worker_class=ECHO, job_type="echo_job")
    cluster.launch_worker(node_url=node.url, worker_type="echo")
    job = job_from_schema(JobSchema(name="echo_job"), {"message": "in hand", "delay": 7})
    cluster.submit_job(job)
    eventually(lambda: cluster.get_job_status(job_id=job.id).status == "running", within=60)
    eventually(lambda: cluster.list_nodes().nodes[0].workers, what="the word of the node")
    (worker,) = cluster.list_nodes().nodes[0].workers

    code, said = shown("status", "--cluster-url", manager.url)

    assert code == 0
    assert said == (
        f"manager {manager.url} node {node.url} alive worker echo {worker.worker_url} running"
    )

    # the node lets its worker finish, and leaves nothing behind
    assert node.ended(signal.SIGTERM) == 0
    assert cluster.get_job_status(job_id=job.id).output == {"echoed": "in hand"}
    assert EchoWorker.status_at_host(worker.worker_url) is ServerStatus.DOWN

    assert manager.ended(signal.SIGINT) == 0
    cluster.close()
    assert list(get_config().dir_paths.server_pids.iterdir()) == []
    assert shown("status", "--cluster-url", manager.url)[0] == 1


@pytest.mark.process
def test_a_manager_ends_soon_though_somebody_waits_for_a_job(manager: Command) -> None:
    cluster: Any = ClusterManager.connect(manager.url)
    cluster.register_job_to_worker(job_type="slow", worker_url="http://localhost:1")
    job = job_from_schema(JobSchema(name="slow"), {})
    cluster.submit_job(job)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cluster.wait_for_job, job_id=job.id, timeout=600)
        with pytest.raises(TimeoutError):
            waiting.result(2)

        began = monotonic()
        assert manager.ended(signal.SIGTERM) == 0

        assert monotonic() - began < 60
        with pytest.raises(ServiceError, match=r"the manager ends, and .* is queued: ask again"):
            waiting.result()
    cluster.close()


@pytest.mark.process
def test_a_port_that_is_taken_ends_it_with_a_sentence(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

        done = subprocess.run(
            [sys.executable, "-m", "mindtrace.cluster", "manager", "--port", port],
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == (
        f"mindtrace-cluster: ClusterManager did not start: port {port} of localhost is already in "
        "use; stop its owner or choose another.\n"
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "setting", "reason"),
    [
        (
            "node --cluster-url http://localhost:1",
            {},
            "http://localhost:1/register_node is not available: no connection could be made",
        ),
        (
            "node --cluster-url http://localhost:1",
            {"WORKER_PORTS_RANGE": "9-8"},
            "The setting MINDTRACE_CLUSTER__WORKER_PORTS_RANGE cannot be used",
        ),
        (
            "manager",
            {"STATE_URL": "nosuch://:secret@here"},
            (
                "The setting MINDTRACE_CLUSTER__STATE_URL cannot be used: no state store for the "
                "URL scheme 'nosuch': sqlite, redis."
            ),
        ),
        (
            "manager",
            {"QUEUE_URL": "nosuch://:secret@here"},
            (
                "The setting MINDTRACE_CLUSTER__QUEUE_URL cannot be used: no backend for the URL "
                "scheme 'nosuch'"
            ),
        ),
        (
            "manager",
            {"REGISTRY_URL": "nosuch://:secret@here"},
            "The setting MINDTRACE_CLUSTER__REGISTRY_URL cannot be used: no registry for the URL",
        ),
        (
            "manager",
            {"STATE_URL": "redis://:secret@localhost:1"},
            "The state of the cluster at localhost:1 cannot be used: it cannot be reached",
        ),
        ("manager", {"FOLDER": "/proc/none"}, "the cluster's folder /proc/none cannot be written"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(
    root: Path, words: str, setting: dict[str, str], reason: str
) -> None:
    """Where in the code that came up helps nobody who runs a cluster."""
    done = subprocess.run(
        [sys.executable, "-m", "mindtrace.cluster", *words.split(), "--port", "0"],
        env={**os.environ, **{f"MINDTRACE_CLUSTER__{name}": setting[name] for name in setting}},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("mindtrace-cluster: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("manager --host 0.0.0.0", "'0.0.0.0' is no name that others can call"),
        ("manager --host 192.0.2.1", "set MINDTRACE_SERVICES__API_TOKEN, or say --insecure"),
        (
            "node --cluster-url http://here:1 --host 192.0.2.1",
            "set MINDTRACE_CLUSTER__NODE_TOKEN, or say --insecure",
        ),
        ("node", "Missing option '--cluster-url'"),
        ("node --cluster-url here", "'here' is no URL of a service"),
        ("node --cluster-url http://here:1 --worker-ports 9-8", "'9-8' is no range of ports"),
        ("status --cluster-url here", "'here' is no URL of a service"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(root: Path, words: str, reason: str) -> None:
    code, said = shown(*words.split())

    assert code == 2
    assert reason in said
