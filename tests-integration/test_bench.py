"""The benchmark as a real process: it runs, says everything, and leaves nothing behind.

Never a time: what is fast enough on which machine is for the reader of the table.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tools.services.catalogue import RABBITMQ, REDIS
from tools.services.rabbitmq import RabbitMQServer
from tools.services.redis import RedisServer

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
MEASURES = {
    "publish": ["publish, an input a call", "publish, job_from_schema a call"],
    "publish_many": ["publish_many (1000)"],
    "consume": ["consume, no-op handler"],
    "depth": [
        "depth 100, publish + consume, fifo",
        "depth 100, publish + consume, the raw floor itself",
    ],
    "latency": [
        "publish -> handler started, idle consumer, p50",
        "publish -> handler started, idle consumer, p99",
        "round trip, submit -> result(), p50",
    ],
    "idle": ["idle consumer, CPU over 0.3 s"],
    "memory": ["RSS of a consumer process after 100 jobs", "RSS growth from job 10 to job 100"],
    "takeover": ["takeover after SIGKILL of the holder, slowest of 1"],
    "import": [
        "import mindtrace.jobs, beyond pydantic",
        "the same, with Consumer, LocalClient, Orchestrator",
    ],
}

ON_SERVERS = ("publish", "publish_many", "consume", "latency", "idle", "memory", "takeover")
"""The measures of Redis and RabbitMQ, in order; the peers are left out, they must be installed."""

TAKEOVER = "takeover after SIGKILL of the holder, slowest of 1"
ON_SERVER = ("--only", "publish_many,idle", "--rounds", "1", "--count", "20", "--backend")
MANY = "publish_many (1000)"
RESULT = "round trip, submit -> result(), p50"


OF_CLUSTERS = {
    "quick_start": ["quick start, from python to result, slowest of 1"],
    "latency": [
        "submit_job -> completed, one at a time, p50",
        "submit_job -> completed, one at a time, p99",
    ],
    "throughput": ["submit_jobs of 20 -> all completed"],
    "takeover": [
        f"SIGKILL of a worker {who} -> its job runs again, slowest of 1"
        for who in ("launched anew by its node", "beside an idle one")
    ],
    "memory": ["RSS growth of the manager over 50 jobs"],
}
OF_SCRIPTS = {
    "git": [
        f"Git job `true` of {what}, against git worktree add, run and remove"
        for what in ("a branch", "a commit")
    ],
    "flood": ["10,000,000 bytes of output: growth of the worker's RSS"],
    "docker": ["Docker job `echo`, against docker run --rm"],
}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tools.bench", *words]


def bench(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def measures(found: dict[str, Any]) -> list[str]:
    return [row["measure"] for row in found["rows"]]


def measured_on(backend: str) -> list[str]:
    """Return what is measured on a server, in order."""
    rows = [row for name in ON_SERVERS for row in MEASURES[name]]
    if backend == "redis":
        takeover = TAKEOVER.replace(", slowest", ", lease 3 s, slowest")
        both = takeover.replace("the holder", "the holder and its keeper")
        rows[rows.index(TAKEOVER) :] = [takeover, both]
    else:
        rows.remove(RESULT)  # it keeps no results
        rows.insert(rows.index(MANY) + 1, f"{MANY}, raw until all are there")
    return rows


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_every_measure_is_printed_and_written_as_json(tmp_path: Path, durability: str) -> None:
    written = tmp_path / "found.json"
    folder = tmp_path / "folder"
    folder.mkdir()

    done = bench(
        *("jobs", "--backend", "local", "--quick", "--no-peers", "--durability", durability),
        *("--folder", str(folder), "--json", str(written)),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())
    assert measures(found) == [row for name in MEASURES for row in MEASURES[name]]
    assert found["skipped"] == {"peers": "--no-peers"}
    assert found["failed"] == {}
    assert found["facts"]["synchronous"] == durability
    for row in found["rows"]:
        assert row["measure"] in done.stdout
        assert row["ours"]["value"] >= 0 or "growth" in row["measure"]
        assert row["verdict"] in ({"ok", "MISSED"} if row["bar"] else {""})
    assert "peers: skipped, --no-peers" in done.stdout
    assert list(folder.iterdir()) == []


def test_a_cluster_is_measured_beside_its_jobs_alone(tmp_path: Path) -> None:
    words = ("--only", "latency", "--json", "-", "--folder", str(tmp_path))

    done = bench("cluster", "--quick", *words)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert measures(found) == OF_CLUSTERS["latency"]
    assert all(row["who"] == "jobs alone" and row["against"]["value"] for row in found["rows"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.redis
@pytest.mark.rabbitmq
@pytest.mark.parametrize("backend", ["local", "redis", "distributed"])
def test_every_measure_of_a_cluster_is_taken(backend: str, tmp_path: Path) -> None:
    done = bench(
        *("cluster", "--backend", backend, "--only", ",".join(OF_CLUSTERS)),
        *("--quick", "--json", "-", "--folder", str(tmp_path)),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert measures(found) == [row for name in OF_CLUSTERS for row in OF_CLUSTERS[name]]
    assert {row["verdict"] for row in found["rows"] if row["bar"]} <= {"ok", "MISSED"}
    assert list(tmp_path.iterdir()) == []
    assert "@" not in done.stdout  # no credentials


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
@pytest.mark.parametrize(
    "names", [["git", "flood"], pytest.param(["docker"], marks=pytest.mark.stress)]
)
def test_scripts_are_measured_beside_bare_commands(names: list[str], tmp_path: Path) -> None:
    words = ("--only", ",".join(names), "--json", "-", "--folder", str(tmp_path))

    done = bench("cluster", "--quick", *words)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert measures(found) == [row for name in names for row in OF_SCRIPTS[name]]
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_a_package_is_not_measured_on_is_refused() -> None:
    done = bench("cluster", "--backend", "rabbitmq")

    assert done.returncode == 2
    assert "cluster: not measured on 'rabbitmq', but on local, redis, distributed" in done.stderr


SERVERS = [
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
]


@pytest.mark.parametrize("backend", SERVERS)
def test_every_measure_of_a_server_is_taken(backend: str) -> None:
    done = bench("--backend", backend, "--quick", "--no-peers", "--json", "-")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert measures(found) == measured_on(backend)
    assert found["skipped"] == {"peers": "--no-peers"}
    assert found["facts"]["server"]
    assert {row["verdict"] for row in found["rows"] if row["bar"]} <= {"ok", "MISSED"}
    assert "@" not in done.stdout  # no credentials


@pytest.mark.parametrize("backend", SERVERS)
def test_a_measure_that_a_server_does_not_have_is_refused(backend: str) -> None:
    done = bench("--backend", backend, "--only", "depth")

    assert done.returncode == 2
    assert f"'depth' is not measured on {backend}" in done.stderr


def test_durability_is_of_the_local_backend() -> None:
    done = bench("--backend", "redis", "--durability", "full")

    assert done.returncode == 2
    assert "--durability is of the local backend" in done.stderr


def test_one_measure_as_json_on_the_output(tmp_path: Path) -> None:
    done = bench("--quick", "--only", "consume,publish_many", "--json", "-", TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert measures(json.loads(done.stdout)) == ["consume, no-op handler", "publish_many (1000)"]
    assert list(tmp_path.iterdir()) == []


def test_every_queue_type_has_a_depth() -> None:
    done = bench("--quick", "--only", "depth", "--queue-types", "stack,priority", "--count", "9")

    assert done.returncode == 0, done.stderr
    assert "publish + consume, stack" in done.stdout
    assert "publish + consume, priority" in done.stdout


def test_without_uv_the_peers_are_one_line_and_the_rest_runs() -> None:
    done = bench("--quick", "--only", "peers,consume", UV="/nowhere/uv")

    assert done.returncode == 0, done.stderr
    assert "peers: skipped, uv cannot be started: No such file or directory\n" in done.stdout
    assert "consume, no-op handler" in done.stdout


def test_unknown_words_are_refused() -> None:
    done = bench("--only", "speed")

    assert done.returncode == 2
    assert "'speed' is not measured on local; publish, publish_many, consume" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_file_and_no_process(tmp_path: Path, sent: signal.Signals) -> None:
    words = ("--quick", "--only", "import,takeover", "--folder", str(tmp_path))

    output = interrupted("takeover", sent, *words)

    assert "import mindtrace.jobs, beyond pydantic" in output
    assert list(tmp_path.iterdir()) == []


def test_a_signal_leaves_nothing_on_a_redis(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()

    output = interrupted("idle", signal.SIGINT, *ON_SERVER, "redis", **{REDIS.variable: server.url})

    assert "publish_many (1000)" in output
    assert server.ctl("KEYS", "*") == []


def test_a_signal_leaves_nothing_on_a_rabbitmq(
    own_rabbitmq: Callable[..., RabbitMQServer],
) -> None:
    server = own_rabbitmq()

    output = interrupted(
        "idle", signal.SIGINT, *ON_SERVER, "rabbitmq", **{RABBITMQ.variable: server.url}
    )

    assert "publish_many (1000)" in output
    assert server.ctl("list_queues", "name").split() in ([], ["name"])
    assert not [name for name in server.ctl("list_exchanges", "name").split() if "bench" in name]


def interrupted(measure: str, sent: signal.Signals, *words: str, **environment: str) -> str:
    """Interrupt a measure while it has processes; check that they end, and return the output."""
    running = subprocess.Popen(
        command(*words),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stderr is not None
        while measure not in running.stderr.readline():
            assert running.poll() is None
        process = psutil.Process(running.pid)
        while not (children := process.children(recursive=True)):
            assert running.poll() is None
        threading.Event().wait(0.3)  # in the middle of things, rather than of starting a process
        running.send_signal(sent)
        output, errors = running.communicate(timeout=90)
    assert running.returncode == 130, errors
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    return output
