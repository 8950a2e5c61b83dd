"""How services stop, are killed, and what is left behind: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from processes_support import Pid, Plain, Text, is_gone, leaving_nothing
from services_support import DEADLINE, environment, eventually

from mindtrace.core import SystemClock
from mindtrace.services import (
    ServerStatus,
    Service,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    endpoint,
)
from mindtrace.services.urls import port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.process


class Stubborn(Service):
    """Has handlers that never end, and leaves a file when it was cleaned up."""

    def __init__(self, folder: str = "", cleanup: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._folder, self._cleanup = Path(folder), cleanup

    async def shutdown_cleanup(self) -> None:
        """Leave a sign, or never end."""
        (self._folder / "cleaned").touch()
        if self._cleanup == "hang":
            await asyncio.Event().wait()
        if self._cleanup == "raise":
            message = "the cleanup failed"
            raise LookupError(message)

    def _begin(self, how: str) -> None:
        (self._folder / f"held by {how}").touch()

    @endpoint("/thread")
    def thread(self) -> None:
        """Never end, in a thread."""
        self._begin("thread")
        threading.Event().wait()

    @endpoint("/coroutine")
    async def coroutine(self) -> None:
        """Never end, on the loop, whoever cancels it."""
        self._begin("coroutine")
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    @endpoint("/executor")
    async def executor(self) -> None:
        """Never end, in a thread of the loop's own pool."""
        self._begin("executor")
        await asyncio.to_thread(threading.Event().wait)

    @endpoint("/loop")
    async def loop(self) -> None:
        """Block the loop."""
        self._begin("loop")
        SystemClock().sleep(3600)

    @endpoint("/helper")
    def helper(self) -> Pid:
        """Start a thread that never ends, and a process."""
        threading.Thread(target=threading.Event().wait).start()
        other = subprocess.Popen(["sleep", "1000"])
        return Pid(pid=other.pid, parent=os.getpid())

    @endpoint("/finish")
    async def finish(self) -> Text:
        """Take a moment."""
        self._begin("finish")
        await asyncio.sleep(1)
        return Text(text="finished")


@pytest.fixture(autouse=True)
def pid_files(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own for each test's files of processes."""
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(tmp_path)):
        yield tmp_path / "server_pids"


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Make a call in a thread; return it with a list that gets what comes of it."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except (ServiceError, ServiceUnavailableError, ServiceTimeoutError) as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def terminate(manager: Any) -> None:
    """End the process of a service as a system does."""
    os.kill(manager.process_id, signal.SIGTERM)


def shut_down(manager: Any) -> None:
    """Tell a service to stop, and do not wait."""
    manager.shutdown(block=False)


def interrupt(manager: Any) -> None:
    """Press Ctrl-C, so to say."""
    os.kill(manager.process_id, signal.SIGINT)


# in good time


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stop", [terminate, shut_down, interrupt])
def test_a_request_under_way_is_finished(
    tmp_path: Path, pid_files: Path, stop: Callable[[Any], None], workers: int
) -> None:
    with leaving_nothing(pid_files):
        manager = Stubborn.launch(port=0, folder=str(tmp_path), num_workers=workers)
        thread, results = in_background(manager.finish)
        eventually((tmp_path / "held by finish").exists)
        stop(Stubborn.connect(manager.url) if stop is shut_down else manager)
        thread.join()

        assert [each.text for each in results] == ["finished"]
        assert manager.wait_until_ended(DEADLINE)
        assert (tmp_path / "cleaned").exists()
        manager.close()


@pytest.mark.parametrize("stop", [terminate, shut_down])
@pytest.mark.parametrize("how", ["thread", "coroutine", "executor"])
def test_a_handler_that_never_ends_does_not_keep_a_service_alive(
    tmp_path: Path, pid_files: Path, how: str, stop: Callable[[Any], None]
) -> None:
    with (
        leaving_nothing(pid_files),
        environment(MINDTRACE_SERVICES__STOP_WITHIN="1"),
    ):
        manager = Stubborn.launch(port=0, folder=str(tmp_path))
        thread, results = in_background(getattr(manager, how))
        eventually((tmp_path / f"held by {how}").exists)
        began = monotonic()
        stop(Stubborn.connect(manager.url) if stop is shut_down else manager)

        assert manager.wait_until_ended(DEADLINE)
        # one second for the request, at most seven for the rest; the machine may be slow
        assert monotonic() - began < 50
        thread.join()
        assert isinstance(results[0], Exception)
        assert (tmp_path / "cleaned").exists()
        manager.close()


@pytest.mark.parametrize("how", ["thread", "coroutine"])
def test_a_worker_with_a_handler_that_never_ends_is_not_started_anew(
    tmp_path: Path, pid_files: Path, how: str
) -> None:
    with (
        leaving_nothing(pid_files),
        environment(MINDTRACE_SERVICES__STOP_WITHIN="1"),
    ):
        manager = Stubborn.launch(port=0, folder=str(tmp_path), num_workers=2)
        thread, _ = in_background(getattr(manager, how))
        eventually((tmp_path / f"held by {how}").exists)
        manager.shutdown(timeout=DEADLINE)
        thread.join()


def test_a_blocked_loop_does_not_keep_a_service_alive(tmp_path: Path, pid_files: Path) -> None:
    with (
        leaving_nothing(pid_files),
        environment(MINDTRACE_SERVICES__STOP_WITHIN="1"),
    ):
        manager = Stubborn.launch(port=0, folder=str(tmp_path))
        thread, _ = in_background(manager.loop)
        eventually((tmp_path / "held by loop").exists)
        terminate(manager)

        assert manager.wait_until_ended(DEADLINE)
        thread.join()
        manager.close()


@pytest.mark.parametrize("cleanup", ["hang", "raise"])
def test_a_cleanup_that_goes_wrong_does_not_keep_a_service_alive(
    tmp_path: Path, pid_files: Path, cleanup: str
) -> None:
    with (
        leaving_nothing(pid_files),
        environment(MINDTRACE_SERVICES__STOP_WITHIN="1"),
    ):
        manager = Stubborn.launch(port=0, folder=str(tmp_path), cleanup=cleanup)
        manager.shutdown(timeout=DEADLINE)

        assert (tmp_path / "cleaned").exists()


def test_threads_and_processes_of_a_service_do_not_keep_it_alive(
    tmp_path: Path, pid_files: Path
) -> None:
    manager = Stubborn.launch(port=0, folder=str(tmp_path))
    helper = manager.helper().pid
    try:
        manager.shutdown()

        assert is_gone(manager.process_id)
        assert list(pid_files.glob("*")) == []
    finally:
        os.kill(helper, signal.SIGKILL)


@pytest.mark.timeout(600)
def test_a_shutdown_frees_the_port_for_the_next_launch(pid_files: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    processes: set[int] = set()
    with leaving_nothing(pid_files):
        for _ in range(6):
            manager = Plain.launch(port=port)
            processes.add(manager.pid().pid)
            assert manager.shutdown().shutdown
    assert len(processes) == 6


def test_a_second_shutdown_does_nothing(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0)
        other = Plain.connect(manager.url)
        for _ in range(3):
            assert manager.shutdown().shutdown
        with pytest.raises(ServiceUnavailableError):
            other.shutdown()


def test_a_shutdown_of_a_killed_service_does_nothing(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0)
        os.kill(manager.process_id, signal.SIGKILL)
        eventually(lambda: manager.status().status is ServerStatus.DOWN)
        assert manager.wait_until_ended(DEADLINE)
        assert manager.shutdown().shutdown


def test_a_service_that_is_shut_down_by_several_at_once_stops_once(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0)
        calls = [in_background(manager.shutdown) for _ in range(5)]
        for thread, _ in calls:
            thread.join()
        for _, (result,) in calls:
            assert isinstance(result, ServiceUnavailableError) or result.shutdown


# killed


def test_a_killed_service_is_noticed_and_leaves_nothing(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0)
        thread, results = in_background(manager.hold)
        eventually(lambda: manager.is_held().text)
        os.kill(manager.process_id, signal.SIGKILL)
        thread.join()

        assert isinstance(results[0], ServiceUnavailableError)
        with pytest.raises(ServiceUnavailableError):
            manager.pid()
        assert manager.status().status is ServerStatus.DOWN
        assert Plain.status_at_host(manager.url) is ServerStatus.DOWN
        assert manager.wait_until_ended(DEADLINE)
        assert is_gone(manager.process_id)
        manager.close()


def test_the_port_of_a_killed_service_is_free_at_once(pid_files: Path) -> None:
    with leaving_nothing(pid_files):
        manager = Plain.launch(port=0)
        port = port_of(manager.url)
        for _ in range(3):
            os.kill(manager.process_id, signal.SIGKILL)
            assert manager.wait_until_ended(DEADLINE)
            manager.close()
            manager = Plain.launch(port=port)
            assert manager.pid().pid == manager.process_id
        manager.shutdown()


# many


def _launch_and_shut_down(count: int) -> None:
    for number in range(count):
        manager = Plain.launch(port=0)
        assert manager.status().status is ServerStatus.AVAILABLE
        if number % 5 == 4:
            os.kill(manager.process_id, signal.SIGKILL)
            assert manager.wait_until_ended(DEADLINE)
            manager.close()
        else:
            manager.shutdown()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port_of(manager.url)))


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(8, marks=pytest.mark.timeout(600)),
        pytest.param(1000, marks=[pytest.mark.stress, pytest.mark.timeout(3600)]),
    ],
)
def test_many_launches_leave_nothing(pid_files: Path, count: int) -> None:
    _launch_and_shut_down(1)  # what is only loaded once
    with leaving_nothing(pid_files):
        _launch_and_shut_down(count)
