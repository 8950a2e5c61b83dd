"""What could lose an acknowledged job or hold one back although every rule was kept on its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from mindtrace.jobs import (
    BackendUnavailableError,
    Consumer,
    Job,
    LocalClient,
    Orchestrator,
)
from mindtrace.jobs.backend import Entry
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.testing import eventually

VISITOR = "from mindtrace.jobs import LocalClient; import sys; c = LocalClient(sys.argv[1]); "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def python(code: str, *arguments: object) -> str:
    """Run code in a process of its own and return what it printed."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def publish_for_ever(orchestrator: Orchestrator) -> None:
    while True:
        orchestrator.publish_many("tasks", [job(), job()])


def job() -> Job:
    return Job(name="any", payload={})


@pytest.mark.process
class TestTheLogStays:
    """SQLite's locks are per process: dropping one by accident lets others delete the log."""

    def test_a_second_client_in_one_process_keeps_the_first_ones_jobs(self, folder: Path) -> None:
        first = Orchestrator(LocalClient(folder))
        first.declare_queue("tasks")
        second = LocalClient(folder)
        second.count_queue_messages("tasks")

        python(f"{VISITOR} c.queue_stats('tasks'); c.close()", folder)
        for _ in range(20):
            first.publish("tasks", job())

        assert (folder / "jobs.db-wal").exists()
        seen = python(f"{VISITOR} print(c.count_queue_messages('tasks'))", folder)
        assert int(seen) == 20

    def test_a_forked_child_keeps_its_jobs_when_its_parent_closes(self, folder: Path) -> None:
        code = """
        import os, subprocess, sys
        from mindtrace.jobs import Job, LocalClient, Orchestrator
        folder, visitor = sys.argv[1:]
        orchestrator = Orchestrator(LocalClient(folder))
        orchestrator.declare_queue("tasks")
        closed, done = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            orchestrator.publish("tasks", Job(name="any", payload={}))
            os.read(closed[0], 1)
            subprocess.run([sys.executable, "-c", visitor, folder], check=True)
            for _ in range(20):
                orchestrator.publish("tasks", Job(name="any", payload={}))
            os._exit(0)
        orchestrator.close()
        os.write(closed[1], b"x")
        print(os.waitpid(child, 0)[1])
        """
        visitor = f"{VISITOR} c.queue_stats('tasks'); c.close()"

        assert python(code, folder, visitor).strip() == "0"

        seen = python(f"{VISITOR} print(c.count_queue_messages('tasks'))", folder)
        assert int(seen) == 21


class Interrupted(BaseException):
    """Like KeyboardInterrupt, nothing that handles failures of files takes it for its own."""


def test_an_interrupt_in_a_transaction_leaves_none_open(folder: Path) -> None:
    client = LocalClient(folder)
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("tasks")
    rounds = 30

    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        for _ in range(rounds):
            with pytest.raises(Interrupted):  # noqa: PT012 - see below
                # again after a second, for what is raised inside of a collector's callback is lost
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.002, 1.0)  # may come before this returns
                publish_for_ever(orchestrator)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            assert not client.store.database.connection.in_transaction
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

    other = LocalClient(folder)
    Orchestrator(other).publish("tasks", job())
    assert other.count_queue_messages("tasks") % 2 == 1, "batches are whole"


def test_publishing_inside_of_another_call_of_the_thread_is_refused(folder: Path) -> None:
    client = LocalClient(folder)
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("tasks")
    orchestrator.publish("tasks", job())

    with client.store.database.writing(), pytest.raises(BackendUnavailableError, match="signal"):
        orchestrator.publish("tasks", job())

    assert client.count_queue_messages("tasks") == 1


def test_a_ring_that_fails_does_not_fail_what_it_rings_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = LocalClient(folder)
    client.declare_queue("tasks")
    holder = client.store.holder()
    waiting = threading.Thread(
        target=holder.receive, args=(["tasks"],), kwargs={"limit": 1, "wait": 5}
    )
    waiting.start()
    pipes = folder / "wake"
    shown = folder / "waiting"
    eventually(lambda: any(shown.read_bytes()[:1024]), what="the holder to wait")
    pipes.rename(folder / "gone")
    pipes.write_text("no folder")

    Orchestrator(client).publish("tasks", job())

    assert "could not be woken" in caplog.text
    waiting.join(10)
    assert not waiting.is_alive(), "it looks by itself"
    assert client.queue_stats("tasks").leased == 1


@pytest.mark.process
def test_each_of_many_idle_queues_is_woken_at_once(folder: Path) -> None:
    orchestrator = Orchestrator(LocalClient(folder))
    began: dict[str, float] = {}

    class Noting(Consumer):
        def run(self, job_dict: Any) -> None:
            began[job_dict["queue"]] = monotonic()

    consumers: list[tuple[Consumer, threading.Thread]] = []
    for number in range(17):
        consumer = Noting(f"q{number}")
        consumer.connect(orchestrator)
        thread = threading.Thread(target=consumer.consume)
        thread.start()
        consumers.append((consumer, thread))
    shown = folder / "waiting"
    eventually(lambda: sum(shown.read_bytes()[:1024]) == 17, what="all of them to wait")

    late: list[float] = []
    for number in reversed(range(17)):
        published = monotonic()
        orchestrator.publish(f"q{number}", job())
        eventually(lambda name=f"q{number}": name in began)
        late.append(began[f"q{number}"] - published)

    for consumer, _ in consumers:
        consumer.stop()
    for _, thread in consumers:
        thread.join()
    assert sorted(late)[8] < 0.2, "a look each second would take half a second"


def test_closing_a_client_ends_its_holds(folder: Path) -> None:
    client = LocalClient(folder)
    client.declare_queue("tasks")
    Orchestrator(client).publish("tasks", job())
    holder = client.store.holder()
    assert holder.receive(["tasks"], limit=1, wait=0).deliveries

    client.close()

    other = LocalClient(folder).store.holder()
    assert [each.lost for each in other.receive(["tasks"], limit=1, wait=0).deliveries] == [1]


def test_a_batch_keeps_its_order_when_an_old_record_makes_way(folder: Path) -> None:
    from mindtrace.core import ManualClock  # noqa: PLC0415 - of this test alone

    clock = ManualClock(1000)
    store = LocalClient(folder, clock=clock).store
    client = LocalClient(folder, clock=clock)
    client.declare_queue("tasks")
    store.publish("tasks", [Entry("first", "{}", keep=5.0)])
    store.cancel("first")
    clock.advance(6)

    store.publish("tasks", [Entry(each, "{}") for each in ("first", "second", new_job_id())])

    brought = store.holder().receive(["tasks"], limit=2, wait=0).deliveries
    assert [each.id for each in brought] == ["first", "second"]


def test_a_folder_that_is_closed_leaves_no_descriptor(folder: Path) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/dev/fd").iterdir())

    def use(number: int) -> None:
        client = LocalClient(folder / str(number))
        client.declare_queue("tasks")
        Orchestrator(client).publish("tasks", job())
        client.receive_message("tasks")
        client.close()

    use(0)
    before = descriptors()

    for number in range(1, 20):
        use(number)

    assert descriptors() <= before + 1
