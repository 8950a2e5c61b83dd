"""Commands in containers of a real engine, through a cluster and by the endpoint of the worker."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import psutil
import pytest
from cluster_support import eventually
from docker_support import MEMORY_HOG, make_image
from run_script_support import flood, two_hundred

from mindtrace.cluster import ClusterManager
from mindtrace.cluster.workers.run_script_worker import (
    RunScriptWorker,
    RunScriptWorkerInput,
    RunScriptWorkerOutput,
)
from mindtrace.core.errors import MindtraceError
from mindtrace.jobs import JobSchema, job_from_schema

pytestmark = [pytest.mark.process, pytest.mark.docker, pytest.mark.xdist_group("docker")]


NETWORK = f"mindtrace-test-{uuid4().hex}"
SERVER = (
    'socket(S, 2, 1, 6); bind(S, pack("S n a4 x8", 2, 8000, "\\0" x 4)) or die; listen(S, 1);'
    ' accept(C, S); syswrite(C, "hello from inside")'
)


class Place:
    """A cluster with a worker, beside an engine."""

    def __init__(self, stack: ExitStack, folder: Path, host: str) -> None:
        self.folder = folder
        untyped: Any = docker.DockerClient
        self.api: Any = untyped(base_url=host).api
        stack.callback(self.api.close)
        self.image = make_image(self.api)
        self.cluster: Any = ClusterManager.launch(host="localhost", port=0, progress_bar=False)
        stack.callback(self.cluster.end)
        self.schema = JobSchema(
            name="run_script_demo",
            input_schema=RunScriptWorkerInput,
            output_schema=RunScriptWorkerOutput,
        )
        self.worker = self.launch(stack)

    def launch(self, stack: ExitStack) -> Any:
        worker: Any = RunScriptWorker.launch(host="localhost", port=0, progress_bar=False)
        stack.callback(worker.end)
        self.cluster.register_job_to_worker(job_type="run_script_demo", worker_url=str(worker.url))
        return worker

    def submit(
        self, command: object, *, container: dict[str, Any] | None = None, **more: Any
    ) -> str:
        where = {"image": self.image} | (container or {})
        job = job_from_schema(
            self.schema, {"environment": {"docker": where}, "command": command, **more}
        )
        self.cluster.submit_job(job)
        return job.id

    def done(self, job_id: str) -> Any:
        return self.cluster.wait_for_job(job_id=job_id, timeout=60)

    def run(self, command: object, **more: Any) -> Any:
        return self.done(self.submit(command, **more))

    def left(self) -> list[str]:
        found = self.api.containers(all=True, filters={"label": "mindtrace.run_script"})
        mine = str(self.folder)
        return [each["Id"] for each in found if mine in each["Labels"]["mindtrace.run_script"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("run-script")
    host = os.environ.get("MINDTRACE_TEST_DOCKER_HOST", "unix:///var/run/docker.sock")
    for name in ("data", "results"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    (folder / "data" / "given").write_text("from the host")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DOCKER_HOST", host)
        monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(folder / "root"))
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__DEVICES", "/dev/zero")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__NETWORKS", f"none,{NETWORK},nobodys")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__PORTS", "true")
        roots = f"{folder}/data,{folder}/results:rw"
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__VOLUME_ROOTS", roots)
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__GRACE", "1")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__GPUS", "true")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__SECRETS__ACCESS", "do-not-tell-1")
        yield Place(stack, folder, host)


@pytest.fixture(autouse=True)
def _nothing_is_left(place: Place) -> Iterator[None]:
    yield
    assert place.left() == []


def test_the_call_of_the_document_runs_as_it_is_written(place: Place) -> None:
    job = job_from_schema(
        place.schema,
        {
            "environment": {
                "docker": {
                    "image": place.image,
                    "working_dir": "/tmp",
                    "environment": {},
                    "volumes": {},
                    "devices": [],
                }
            },
            "command": "echo hello",
        },
    )
    place.cluster.submit_job(job)
    found = place.done(job.id)
    assert found.status == "completed"
    output = RunScriptWorkerOutput.model_validate(found.output)
    assert (output.stdout, output.stderr, output.exit_code) == ("hello\n", "", 0)
    assert output.image == place.api.inspect_image(place.image)["Id"]


def test_a_container_can_do_little(place: Place) -> None:
    script = (
        "id -u; id -g; grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /sys/class/net;"
        " touch /x || touch /tmp/x && echo written; env | cut -d= -f1; exit 3"
    )
    found = place.run(script, env={"TOKEN": {"secret": "access"}, "MINE": "1"})
    lines = found.output["stdout"].split()
    assert lines[:7] == ["65534", "65534", "CapEff:", "0" * 16, "NoNewPrivs:", "1", "lo"]
    assert "written" in lines
    assert "Read-only file system" in found.output["stderr"]
    assert found.output["exit_code"] == 3
    names = set(lines[lines.index("written") + 1 :])
    assert {"TOKEN", "MINE", "PATH"} <= names
    assert not any(each.startswith("MINDTRACE") for each in names)


def test_a_list_is_executed_as_it_is(place: Place) -> None:
    assert place.run(["cut", "-c1-99", "/proc/self/cmdline"]).output["stdout"].split("\0")[:2] == [
        "cut",
        "-c1-99",
    ]
    missing = place.run(["no-such-program"])
    assert missing.output["exit_code"] == 127


def test_folders_of_the_host_are_there_as_allowed(place: Place) -> None:
    volumes = {
        f"{place.folder}/data": "/data",
        f"{place.folder}/results": {"bind": "/results", "mode": "rw"},
    }
    script = 'cat /data/given; touch /data/x; echo "$TOKEN" > /results/found; echo "$TOKEN"'
    more = {"container": {"volumes": volumes}, "env": {"TOKEN": {"secret": "access"}}}
    found = place.run(script, **more)
    assert found.output["stdout"] == "from the host***\n"
    assert "Read-only file system" in found.output["stderr"]
    assert (place.folder / "results" / "found").read_text() == "do-not-tell-1\n"


@pytest.mark.parametrize(
    ("command", "more", "hit", "code"),
    [
        ("echo on; sleep 300", {"timeout": 0.5}, ["timeout"], 143),
        pytest.param(
            "trap '' TERM; setsid sleep 300 & sleep 300; sleep 300",
            {"timeout": 3},
            ["timeout"],
            137,
            marks=pytest.mark.stress,
        ),
        ("f() { f | f & }; f; exec ls /nowhere", {"limits": {"processes": 30}}, [], 2),
        pytest.param("head -c 1000000000 /dev/zero > /tmp/x", {}, [], 1, marks=pytest.mark.stress),
        ("head -c 9000 /dev/zero > /tmp/x", {"limits": {"file_size": 4096}}, [], 153),
    ],
    ids=["timeout", "stubborn", "fork bomb", "disk filler", "large file"],
)
def test_what_a_command_does_wrong_ends_with_it(
    place: Place, command: str, more: dict[str, Any], hit: list[str], code: int
) -> None:
    found = place.run(command, **more)
    assert found.status == "failed"
    assert (found.output["limits_hit"], found.output["exit_code"]) == (hit, code)
    assert place.run("echo next").output["stdout"] == "next\n"


def test_a_memory_hog_ends_and_is_called_so(place: Place) -> None:
    def is_called_so() -> bool:
        found = place.run(MEMORY_HOG, limits={"memory": "32MiB"})
        assert (found.status, found.output["exit_code"]) == ("failed", 137)
        assert place.run("echo next").output["stdout"] == "next\n"
        return bool(found.output["limits_hit"] == ["memory"])

    # an engine of this age loses at times what the kernel told it
    assert any(is_called_so() for _ in range(5))


@pytest.mark.parametrize(
    ("container", "what"),
    [
        ({"volumes": {"/": "/host"}}, "VOLUME_ROOTS"),
        ({"image": "mindtrace-test:nowhere", "pull": "never"}, "no image mindtrace-test:nowhere"),
        # allowed here, but the engine has none; what it made is removed all the same
        ({"gpus": 1}, "the Docker engine has no GPU to give"),
        ({"gpus": -1}, "the Docker engine has no GPU to give"),
        ({"devices": ["/dev/null"]}, "DEVICES"),
        ({"devices": ["/dev/../dev/zero"]}, "DEVICES"),
        ({"network": "bridge"}, "NETWORKS"),
        ({"network": "nobodys"}, "network nobodys not found"),
        ({"ports": {"80/tcp": None}}, "no port can be published on the network 'none'"),
        ({"working_dir": "../.."}, "needs to be an absolute path"),
    ],
)
def test_what_cannot_be_had_is_refused(place: Place, container: dict[str, Any], what: str) -> None:
    found = place.run("true", container=container)
    assert found.status == "failed"
    assert what in found.output["error"]


def test_a_device_of_the_host_is_there_as_allowed(place: Place) -> None:
    found = place.run(
        "head -c 3 /dev/other | wc -c", container={"devices": ["/dev/zero:/dev/other"]}
    )
    assert found.output["stdout"] == "3\n"


def test_a_port_can_be_reached_where_it_is_published(place: Place) -> None:
    network = place.api.create_network(NETWORK, driver="bridge")
    try:
        container = {"network": NETWORK, "ports": {"8000/tcp": None}}
        job_id = place.submit(["perl", "-e", SERVER], container=container)
        eventually(lambda: _ports(place, job_id), what="a port")
        port = _ports(place, job_id)["8000/tcp"]
        eventually(lambda: _heard(port) == b"hello from inside", what="an answer")
        assert place.done(job_id).status == "completed"
        assert _ports(place, job_id) == {}
    finally:
        place.api.remove_network(network["Id"])


def _ports(place: Place, job_id: str) -> dict[str, int]:
    try:
        ports: dict[str, int] = place.worker.output(job_id=job_id).ports
    except MindtraceError:  # it has not begun
        return {}
    return ports


def _heard(port: int) -> bytes:
    with suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), 5) as asked:
        return asked.recv(100)
    return b""


def test_what_is_built_in_the_container_can_be_run_there(place: Place) -> None:
    assert place.run("cp /bin/echo /tmp/made; /tmp/made hello").output["stdout"] == "hello\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_what_is_mounted_below_a_folder_to_read_cannot_be_written(place: Place) -> None:
    below = place.folder / "data" / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", below], check=True)
    try:
        found = place.run(
            "touch /data/below/x; echo tried",
            container={"volumes": {f"{place.folder}/data": "/data"}},
        )
        assert found.output["stdout"] == "tried\n"
        assert list(below.iterdir()) == []
    finally:
        subprocess.run(["umount", below], check=True)
        below.rmdir()


def test_a_cancelled_job_ends_its_container(place: Place) -> None:
    job_id = place.submit("echo on; sleep 300")
    eventually(place.left)
    assert place.cluster.cancel_job(job_id=job_id).cancelled
    assert place.done(job_id).status == "cancelled"
    eventually(lambda: not place.left())


def test_containers_of_a_killed_worker_are_removed_by_the_next_one(place: Place) -> None:
    with ExitStack() as stack:
        ended: Any = RunScriptWorker.launch(host="localhost", port=0, progress_bar=False)
        stack.callback(ended.end)
        process = psutil.Process(int(Path(ended.pid_file().pid_file).read_text()))
        where = {"docker": {"image": place.image}}
        job = {"environment": where, "command": "sleep 300"}
        threading.Thread(target=_try_to_run, args=[ended, job], daemon=True).start()
        eventually(place.left)
        # the next one of whoever lives leaves them alone
        assert place.run("echo next").output["stdout"] == "next\n"
        assert len(place.left()) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        place.launch(stack)
        eventually(lambda: not place.left(), what="the sweep")


def _try_to_run(worker: Any, job: dict[str, Any]) -> None:
    with suppress(MindtraceError):  # it is killed meanwhile
        worker.run(job_dict=job)


@pytest.mark.stress
def test_a_flood_of_output_takes_no_memory_of_the_worker(place: Place) -> None:
    size, growth = flood(place, "yes | head -c 1000000000")
    assert size == 1_000_000_000
    assert growth < 20 * 2**20


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_of_two_hundred_jobs_nothing_is_left(place: Place) -> None:
    found, wanted = two_hundred(place, "/tmp/x", timeout=0.5, within=500)
    assert found == wanted
    assert place.left() == []
