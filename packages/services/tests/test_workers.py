"""Several processes on one port: all serve, who dies is replaced, and all end together."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from processes_support import Plain, is_gone, leaving_nothing
from services_support import DEADLINE, environment, eventually, launched

from mindtrace.services import (
    ServerStatus,
    Service,
    ServiceLaunchError,
    ServiceUnavailableError,
    endpoint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def pid_files(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own for each test's files of processes."""
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(tmp_path)):
        yield tmp_path / "server_pids"


class Wilting(Service):
    """Starts only while a file is there."""

    def __init__(self, allowed: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._allowed = Path(allowed)

    def startup(self) -> None:
        """Fail if the file is not there."""
        if not self._allowed.exists():
            message = "not allowed"
            raise LookupError(message)

    @endpoint("/pid")
    async def pid(self) -> dict[str, Any]:
        """Return the number of this process."""
        return {"pid": os.getpid()}


def workers_of(manager: Any) -> list[int]:
    """Return the numbers of the processes that serve."""
    return sorted(each.pid for each in psutil.Process(manager.process_id).children())


def seen_by(manager: Any, count: int) -> list[int]:
    """Return the processes that answer, once so many do."""
    seen: set[int] = set()

    def ask() -> bool:
        with type(manager)(manager.url).only_talking() as client:
            try:
                answer = client.pid()
            except ServiceUnavailableError:  # it reached one that was killed
                return False
        seen.add(answer["pid"] if isinstance(answer, dict) else answer.pid)
        seen.intersection_update(workers_of(manager))
        return len(seen) == count

    eventually(ask)
    return sorted(seen)


def test_all_workers_serve_and_end_together(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0, num_workers=3)
        seen = seen_by(manager, 3)

        assert seen == workers_of(manager)
        assert manager.process_id not in seen
        assert {manager.server_id().server_id for _ in range(10)} == {manager._server_id}
        manager.shutdown()
        assert all(is_gone(each) for each in seen)


def test_workers_have_one_file_of_a_process_the_one_above_them(pid_files: Path) -> None:
    with launched(Plain, num_workers=2) as manager:
        assert [each.read_text() for each in pid_files.glob("*")] == [str(manager.process_id)]
        assert (
            manager.pid_file().pid_file
            == manager._server_pid_file
            == str(next(pid_files.glob("*")))
        )


def test_a_killed_worker_is_replaced(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0, num_workers=3)
        before = seen_by(manager, 3)
        os.kill(before[0], signal.SIGKILL)
        after = seen_by(manager, 3)

        assert set(before) - set(after) == {before[0]}
        # it is not the worker's to write or take away
        assert [each.read_text() for each in pid_files.glob("*")] == [str(manager.process_id)]
        manager.shutdown()


def test_all_workers_killed_at_once_are_replaced(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0, num_workers=2)
        before = seen_by(manager, 2)
        for each in before:
            os.kill(each, signal.SIGKILL)

        assert not set(seen_by(manager, 2)) & set(before)
        manager.shutdown()


def test_a_worker_that_cannot_start_anew_is_tried_again(tmp_path: Path, pid_files: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.touch()
    with leaving_nothing(pid_files):
        manager = Wilting.launch(port=0, num_workers=2, allowed=str(allowed))
        before = seen_by(manager, 2)
        allowed.unlink()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: before[0] not in workers_of(manager))
        tried = eventually(lambda: set(workers_of(manager)) - set(before))
        eventually(lambda: all(is_gone(each) for each in tried))
        assert manager.status().status is ServerStatus.AVAILABLE
        allowed.touch()

        assert before[1] in seen_by(manager, 2)
        manager.shutdown()


def test_a_worker_that_fails_at_the_start_fails_the_launch(tmp_path: Path, pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        with pytest.raises(ServiceLaunchError, match="not allowed") as caught:
            Wilting.launch(port=0, num_workers=2, allowed=str(tmp_path / "none"))
        assert "LookupError" in caught.value.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_one_above_them(pid_files: Path, number: int) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0, num_workers=3)
        workers = workers_of(manager)
        os.kill(manager.process_id, number)

        assert manager.wait_until_ended(DEADLINE)
        eventually(lambda: all(is_gone(each) for each in workers))
        manager.close()


def test_lines_of_workers_reach_the_one_who_launched(capfd: pytest.CaptureFixture[str]) -> None:
    shown = ""

    def has_it() -> bool:
        nonlocal shown
        shown += capfd.readouterr().err
        return "from a worker" in shown

    with launched(Plain, num_workers=2) as manager:
        manager.say(text="from a worker")
        eventually(has_it)
