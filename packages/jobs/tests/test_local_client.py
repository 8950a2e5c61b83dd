"""`LocalClient`: where it keeps jobs, who may read them, what it says of itself."""

from __future__ import annotations

import json
import logging
import os
import pickle
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import Pair, add, drain, run_python, sums

from mindtrace.core import ManualClock
from mindtrace.jobs import (
    BackendUnavailableError,
    Capabilities,
    Job,
    JobValidationError,
    LocalClient,
    Orchestrator,
)
from mindtrace.jobs.testing.waiting import Background

if TYPE_CHECKING:
    from collections.abc import Callable


def job() -> Job:
    return Job(name="any", payload={})


def used(folder: Path) -> LocalClient:
    """Return a client of a folder that has opened everything it ever opens."""
    client = LocalClient(folder)
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("tasks")
    orchestrator.publish("tasks", job())
    orchestrator.receive_message("tasks")
    return client


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestPlaces:
    def test_constructing_opens_nothing(self, folder: Path) -> None:
        LocalClient(folder)

        assert not folder.exists()

    def test_a_folder_may_be_text_with_a_home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))

        with used(Path("~/some/where")) as client:
            assert client.client_dir == (tmp_path / "some/where").resolve()

        assert (tmp_path / "some/where/jobs.db").is_file()

    def test_only_its_user_may_look_inside(self, folder: Path) -> None:
        before = os.umask(0)
        try:
            with used(folder):
                found = {str(path.relative_to(folder)): mode(path) for path in folder.rglob("*")}

                assert mode(folder) == 0o700
                assert {"jobs.db", "jobs.db-wal", "holders.lock", "waiting", "wake"} <= set(found)
                for name, bits in found.items():
                    assert bits == (0o700 if (folder / name).is_dir() else 0o600), name
        finally:
            os.umask(before)

    def test_two_clients_of_a_folder_share_its_jobs(self, folder: Path) -> None:
        with LocalClient(folder) as one, LocalClient(folder) as two:
            one.declare_queue("tasks")
            one.publish("tasks", job())

            assert two.queues == {"tasks": "fifo"}
            assert two.count_queue_messages("tasks") == 1

    def test_a_client_in_memory_has_no_folder(self, client: LocalClient) -> None:
        assert client.client_dir is None
        assert client.store.address == "memory"

    def test_the_default_folder_is_named_in_one_line(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
        caplog.set_level(logging.INFO, "mindtrace")

        client = LocalClient()

        assert client.client_dir is not None
        assert client.client_dir.is_relative_to(tmp_path)
        (line,) = [each for each in caplog.messages if str(client.client_dir) in each]
        assert "Jobs are kept in" in line

    def test_the_clock_dates_the_jobs(self) -> None:
        clock = ManualClock(1_700_000_000)

        with LocalClient.in_memory(clock=clock) as client:
            assert client.store.now() == 1_700_000_000


class TestDurability:
    @pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
    def test_it_says_how_much_is_forced_to_the_disk(
        self, folder: Path, durability: Any, level: int
    ) -> None:
        with (
            LocalClient(folder, durability=durability) as client,
            client.store.database.reading() as connection,
        ):
            pragmas = [
                connection.execute(f"pragma {name}").fetchone()[0]
                for name in ("synchronous", "journal_mode")
            ]

        assert pragmas == [level, "wal"]

    def test_another_word_is_refused(self, folder: Path) -> None:
        with pytest.raises(ValueError, match='durability is "normal" or "full"'):
            LocalClient(folder, durability="none")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    def test_it_goes_with_the_arguments_for_another_process(self, folder: Path) -> None:
        client = LocalClient(folder, durability="full")

        args = json.loads(json.dumps(client.consumer_backend_args))

        assert args == client.consumer_backend_args
        assert args["kwargs"]["durability"] == "full"


class TestFaults:
    def test_a_closed_client_says_so(self, folder: Path) -> None:
        client = used(folder)
        client.close()

        with pytest.raises(BackendUnavailableError, match="this client was closed") as caught:
            client.count_queue_messages("tasks")

        assert caught.value.transient is False
        assert isinstance(caught.value, ConnectionError)

    def test_closing_twice_is_fine(self, folder: Path) -> None:
        client = used(folder)

        client.close()
        client.close()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        client = LocalClient(tmp_path / "file" / "jobs")

        with pytest.raises(BackendUnavailableError, match="file/jobs") as caught:
            client.declare_queue("tasks")

        assert caught.value.address == str(tmp_path / "file/jobs/jobs.db")

    def test_leaving_a_block_with_an_error_closes_and_lets_it_pass(self, folder: Path) -> None:
        with pytest.raises(LookupError), used(folder) as client:
            raise LookupError

        with pytest.raises(BackendUnavailableError):
            client.store.queues()


class TestSharing:
    def test_many_threads_use_one_client(self, folder: Path) -> None:
        with LocalClient(folder) as client:
            orchestrator = Orchestrator(client)
            orchestrator.declare_queue("tasks")

            def publish() -> list[str]:
                return [orchestrator.publish("tasks", job()) for _ in range(20)]

            ids = [
                each
                for thread in [Background(publish) for _ in range(4)]
                for each in thread.result()
            ]

            assert len(set(ids)) == 80
            assert client.count_queue_messages("tasks") == 80

    @pytest.mark.process
    def test_a_forked_child_publishes_and_leaves_what_its_parent_took(self, folder: Path) -> None:
        code = """
import os, sys
from mindtrace.jobs import Job, LocalClient, Orchestrator
client = LocalClient(sys.argv[1])
orchestrator = Orchestrator(client)
orchestrator.declare_queue("tasks")
orchestrator.publish("tasks", Job(name="a", payload={}))
holder = client.store.holder()
held = holder.receive(["tasks"], limit=1, wait=0).deliveries
child = os.fork()
if child == 0:
    orchestrator.publish("tasks", Job(name="b", payload={}))
    taken = orchestrator.receive_message("tasks")
    os._exit(0 if taken.name == "b" and orchestrator.receive_message("tasks") is None else 1)
_, status = os.waitpid(child, 0)
stats = orchestrator.queue_stats("tasks")
print(status, stats.leased, stats.ready)
holder.close()
client.close()
"""

        assert run_python(code, folder) == "0 1 0"

    @pytest.mark.process
    def test_a_forked_child_of_a_client_in_memory_has_its_own(self) -> None:
        code = """
import os
from mindtrace.jobs import Job, LocalClient, Orchestrator
orchestrator = Orchestrator(LocalClient.in_memory())
orchestrator.declare_queue("tasks")
child = os.fork()
if child == 0:
    orchestrator.publish("tasks", Job(name="b", payload={}))
    os._exit(orchestrator.count_queue_messages("tasks"))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), orchestrator.count_queue_messages("tasks"))
"""

        assert run_python(code) == "1 0"


def test_it_can_do_everything(client: LocalClient) -> None:
    assert client.capabilities == Capabilities()
    assert client.capabilities.queue_types == ("fifo", "stack", "priority")


def test_its_arguments_are_plain_and_it_is_not_pickled(folder: Path) -> None:
    client = LocalClient(folder)

    with pytest.raises(TypeError):
        pickle.dumps(client)


REFUSED: list[Callable[[LocalClient], object]] = [
    lambda client: client.declare_exchange(exchange="x"),
    lambda client: client.delete_exchange(exchange="x"),
    lambda client: client.count_exchanges(exchange="x"),
    lambda client: client.move_to_dlq("tasks", "dead", {}, "why"),
]


class TestOlderCalls:
    def test_a_result_can_be_kept_by_hand(self) -> None:
        clock = ManualClock(1_700_000_000)
        with LocalClient.in_memory(clock=clock) as client:
            client.store_job_result("one", {"x": [1]})
            client.store_job_result("one", {"x": [2]})

            assert client.get_job_result("one") == {"x": [2]}
            assert client.get_job_result("two") is None
            clock.advance(24 * 3600 + 1)
            assert client.get_job_result("one") is None

    def test_a_result_without_a_json_form_is_refused(self, client: LocalClient) -> None:
        with pytest.raises(JobValidationError):
            client.store_job_result("one", object())

    def test_what_a_job_kept_is_read_as_plain_values(self, orchestrator: Orchestrator) -> None:
        handle = orchestrator.submit(sums(), Pair(a=1))
        drain(orchestrator, "sums", add)

        assert orchestrator.backend.get_job_result(handle.id) == {"total": 1}  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    @pytest.mark.parametrize("call", REFUSED)
    def test_what_other_brokers_have_is_refused_and_not_pretended(
        self, client: LocalClient, call: Any
    ) -> None:
        with pytest.raises(NotImplementedError, match="local backend does not support"):
            call(client)
