"""`process_dlq` with a person at a terminal."""

import os
import pty
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cluster_support import eventually
from pydantic import BaseModel

from mindtrace.cluster import ClusterManager, Worker
from mindtrace.cluster.core.dlq import process_dlq
from mindtrace.cluster.core.types import DLQJobs, DLQJobStatus
from mindtrace.jobs import JobSchema, job_from_schema
from mindtrace.services import ServiceError

pytestmark = pytest.mark.process

SCRIPT = """
import sys
from mindtrace.cluster import ClusterManager
from mindtrace.cluster.core.dlq import process_dlq
requeued = process_dlq(ClusterManager.connect(sys.argv[1]))
print("requeued:", sorted(each.job_id for each in requeued))
"""


class Text(BaseModel):
    text: str


SCHEMA = JobSchema(name="texts", input_schema=Text)


class Fails(Worker):
    def _run(self, job_dict: dict[str, Any]) -> Any:
        raise ValueError(f"[bold]no[/bold] {job_dict['text']}")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
    manager = ClusterManager.launch(host="localhost", port=0)
    worker = Fails.launch(host="localhost", port=0)
    manager.register_job_to_worker(job_type="texts", worker_url=str(worker.url))
    yield manager
    worker.end()
    manager.end()


def failed(cluster: Any, *texts: str) -> list[str]:
    jobs = [job_from_schema(SCHEMA, {"text": text}) for text in texts]
    cluster.submit_jobs(jobs=jobs)
    for each in jobs:
        assert cluster.wait_for_job(job_id=each.id).status == "failed"
    return [each.id for each in jobs]


def at_a_terminal(url: object, *keys: str) -> str:
    """Run the script in a terminal, press keys whenever it asks, and return what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT, str(url)])
    shown = b""
    left = list(keys)
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
        while left and shown.count(b"or quit (q)?") > len(keys) - len(left):
            os.write(terminal, left.pop(0).encode())
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    return shown.decode()


def test_each_job_is_shown_and_done_with_as_the_person_says(cluster: Any) -> None:
    ids = failed(cluster, "one", "two", "three", "four")

    shown = at_a_terminal(cluster.url, "d\n", "s\n", "r\n", "q\n")

    assert f"requeued: ['{ids[2]}']" in shown
    assert "[bold]no[/bold] one" in shown
    assert "1 of 4" in shown
    eventually(
        lambda: [each.job_id for each in cluster.get_dlq_jobs().jobs] == [ids[1], ids[3], ids[2]]
    )


class Manager:
    """Has a dead letter that is no job."""

    def get_dlq_jobs(self) -> DLQJobs:
        return DLQJobs(jobs=[DLQJobStatus(job_id="odd", reason="invalid", body="[no\x1b job")])


def test_what_is_no_job_is_shown_as_it_was_queued(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("q\n"))

    assert process_dlq(Manager()) == []

    shown = capsys.readouterr().out
    assert "Job odd (1 of 1), (no job): failed" in shown
    assert r'body:    "[no\u001b job"' in shown


class Elsewhere(Manager):
    """Has a dead letter that somebody else deals with first, or that it cannot reach."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def discard_from_dlq(self, job_id: str) -> None:
        raise ServiceError("http://localhost:1/", 500, self.kind, f"no {job_id}", "")

    requeue_from_dlq = discard_from_dlq


@pytest.mark.parametrize("key", ["r", "d"])
def test_a_job_that_somebody_else_dealt_with_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(f"{key}\n{key}\n"))

    assert process_dlq(Elsewhere("JobNotFoundError")) == []

    assert "Somebody else has requeued or discarded it." in capsys.readouterr().out
    with pytest.raises(ServiceError, match="no odd"):
        process_dlq(Elsewhere("BackendUnavailableError"))


def test_of_what_is_very_long_the_beginning_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Long(Manager):
        def get_dlq_jobs(self) -> DLQJobs:
            return DLQJobs(jobs=[DLQJobStatus(job_id="odd", output="x" * 20_000_000)])

    monkeypatch.setattr(sys, "stdin", StringIO("q\n"))

    assert process_dlq(Long()) == []

    shown = capsys.readouterr().out
    assert "xxx ... and 19996002 characters more" in shown
    assert len(shown) < 5000


def test_another_key_is_asked_for_again(cluster: Any) -> None:
    ids = failed(cluster, "one")

    shown = at_a_terminal(cluster.url, "x\n", "d\n")

    assert "Please select one of the available options" in shown
    assert cluster.get_dlq_jobs().jobs == []
    assert ids[0] in shown


def test_the_end_of_the_input_is_a_quit(cluster: Any) -> None:
    failed(cluster, "one")

    assert "requeued: []" in at_a_terminal(cluster.url, "\x04")
    assert len(cluster.get_dlq_jobs().jobs) == 1


def test_without_a_failed_job_it_says_so(cluster: Any) -> None:
    assert "No job has failed." in at_a_terminal(cluster.url)
