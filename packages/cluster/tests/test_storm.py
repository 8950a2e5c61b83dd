"""A cluster under fire: workers, nodes and managers are killed while it works."""

import contextlib
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
from cluster_support import eventually, free_port
from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Node
from mindtrace.cluster.core.types import FINISHED
from mindtrace.core.errors import MindtraceError
from mindtrace.jobs import Job, JobSchema, job_from_schema

pytestmark = pytest.mark.process

SEEDS = [int(each) for each in os.environ.get("MINDTRACE_TEST_STORMS", "4").split(",")]
"""Other numbers make other storms; several have commas between them."""


class Work(BaseModel):
    number: int
    seconds: float
    journal: str


SCHEMA = JobSchema(name="storm_job", input_schema=Work)
WORKERS = 2
"""On each node."""
AT_ONCE = 10
"""Jobs in a call."""


class Storm:
    """A manager and two nodes that are launched anew whenever they are killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.journal = folder / "journal"
        self.ports = [free_port() for _ in range(3)]
        self.cluster = self.launch_manager()
        self.cluster.register_worker_type(
            worker_name="storm", worker_class="storm_workers.StormWorker", job_type="storm_job"
        )
        self.nodes: list[Any] = [self.launch_node(port) for port in self.ports[1:]]
        self.kills: dict[str, int] = {"worker": 0, "node": 0, "manager": 0}

    def launch_manager(self) -> Any:
        return ClusterManager.launch(host="localhost", port=self.ports[0])

    def launch_node(self, port: int) -> Any:
        ports = range(30_000 + port % 1000 * 10, 30_000 + port % 1000 * 10 + 10)
        node = Node.launch(
            host="localhost", port=port, cluster_url=str(self.cluster.url), worker_ports=list(ports)
        )
        for _ in range(WORKERS):
            node.launch_worker(worker_type="storm", auto_connect_job_type="storm_job")
        return node

    def job(self, number: int) -> Job:
        seconds = self.draw.choice([0.05, 0.2, 0.6])  # more than they can do meanwhile
        return job_from_schema(
            SCHEMA, Work(number=number, seconds=seconds, journal=str(self.journal))
        )

    def strike(self) -> None:
        """Kill somebody, and launch who is killed anew."""
        match self.draw.choice(["worker", "worker", "node", "manager"]):
            case "worker":
                self._kill_worker()
            case "node":
                place = self.draw.randrange(2)
                self._kill(self.nodes[place], "node")
                self.nodes[place] = self.launch_node(self.ports[1 + place])
            case _:
                self._kill(self.cluster, "manager")
                self.cluster = self.launch_manager()

    def _kill(self, victim: Any, kind: str) -> None:
        os.kill(victim.process_id, signal.SIGKILL)
        assert victim.wait_until_ended(10)
        self.kills[kind] += 1

    def _kill_worker(self) -> None:
        children = _children(self.draw.choice(self.nodes).process_id)
        if children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.draw.choice(children), signal.SIGKILL)
                self.kills["worker"] += 1

    def runs(self) -> dict[str, Counter[int]]:
        """Count the runs of each job that were begun, and those that were done."""
        found: dict[str, Counter[int]] = {"begun": Counter(), "done": Counter()}
        for line in self.journal.read_text(encoding="ascii").splitlines():
            what, number = line.split()
            found[what][int(number)] += 1
        return found

    def end(self) -> None:
        for each in (*self.nodes, self.cluster):
            each.end()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


class Client(threading.Thread):
    """Submits jobs over a time, whatever becomes of the manager, and watches how they are."""

    def __init__(self, storm: Storm, jobs: list[Job], seconds: float) -> None:
        super().__init__(name="client")
        self._storm = storm
        self._left = list(jobs)
        self._pause = seconds * AT_ONCE / len(jobs)
        self._finished: dict[str, str] = {}
        self.problems: list[str] = []
        self.repeated = 0

    def run(self) -> None:
        try:
            while self._left:
                began = monotonic()
                self._submit(self._left[:AT_ONCE])
                del self._left[:AT_ONCE]
                with contextlib.suppress(MindtraceError):
                    self._look()
                Event().wait(self._pause - (monotonic() - began))
        except AssertionError as error:
            self.problems.append(str(error))

    def _submit(self, jobs: list[Job]) -> None:
        """Submit until it is certain that it worked: the ids make repeating safe."""
        last = ""

        def done() -> bool:
            nonlocal last
            try:
                self._storm.cluster.submit_jobs(jobs=jobs)
            except MindtraceError as error:
                self.repeated += 1
                last = str(error)
                return False
            return True

        try:
            eventually(done, within=30, what="a manager that takes jobs")
        except AssertionError as error:
            error.add_note(last)
            raise AssertionError(f"{error}; at last: {last}") from error

    def _look(self) -> None:
        """See to it that what has finished stays as it is."""
        for each in all_jobs(self._storm.cluster):
            before = self._finished.get(each.job_id)
            if before not in (None, each.status):
                self.problems.append(f"{each.job_id} was {before}, and is {each.status}")
            if each.status in FINISHED:
                self._finished[each.job_id] = str(each.status)


def all_jobs(cluster: Any) -> list[Any]:
    found: list[Any] = []
    while page := cluster.list_jobs(
        schema_name="storm_job", limit=1000, after=found[-1].job_id if found else None
    ).jobs:
        found += page
    return found


@pytest.fixture(params=SEEDS)
def storm(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Storm]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    storm = Storm(tmp_path, seed=request.param)
    yield storm
    storm.cluster.clear_databases()
    storm.end()


def blow(storm: Storm, count: int, seconds: float, every: float) -> None:
    """Submit jobs over a time in which somebody is killed every few seconds; all get done."""
    jobs = [storm.job(number) for number in range(count)]
    client = Client(storm, jobs, seconds)
    client.start()
    end = following = monotonic() + every
    end += seconds
    while monotonic() < end:
        Event().wait(following - monotonic())
        storm.strike()
        following = max(following + every, monotonic())
    client.join()
    statuses = [storm.cluster.wait_for_job(job_id=each.id, timeout=120) for each in jobs]
    runs = storm.runs()
    hit = runs["begun"].total() - runs["done"].total()
    said = f"{storm.kills}; {hit} runs cut off, {client.repeated} calls repeated"
    sys.stdout.write(f"{said}\n")  # seen with -rP

    assert client.problems == []
    assert {str(each.status) for each in statuses} == {"completed"}
    assert [each.output["number"] for each in statuses] == list(range(count))
    assert set(runs["done"]) == set(range(count))
    assert [each.job_id for each in all_jobs(storm.cluster)] == [each.id for each in jobs]
    assert storm.cluster.get_dlq_jobs().jobs == []
    assert sum(storm.kills.values()) >= seconds / every / 2, said
    assert hit >= count // 500, said


@pytest.mark.stress
def test_a_short_storm_loses_nothing(storm: Storm) -> None:
    blow(storm, count=60, seconds=8, every=2)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_a_minute_of_kills_loses_none_of_a_thousand_jobs(storm: Storm) -> None:
    blow(storm, count=1000, seconds=60, every=3)
