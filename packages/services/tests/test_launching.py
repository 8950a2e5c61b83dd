"""Launching: its forms, what is in the way of it, and that a failed one leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from processes_support import (
    ONE_OR_TWO_WORKERS,
    Failing,
    Footprint,
    Name,
    Plain,
    Program,
    leaving_nothing,
    ran,
)
from services_support import DEADLINE, environment, eventually, launched

from mindtrace.services import (
    ConnectionManager,
    InsecureBindError,
    ServerStatus,
    Service,
    ServiceLaunchError,
    ServicePortInUseError,
    endpoint,
)
from mindtrace.services.urls import port_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

pytestmark = pytest.mark.process


class Slow(Service):
    """Takes a while to start."""

    async def startup(self) -> None:
        """Wait."""
        await asyncio.sleep(0.5)

    @endpoint("/started")
    async def started(self) -> Name:
        """Say so."""
        return Name(name="started")


class Needy(Service):
    """Cannot be made without an argument."""

    def __init__(self, wanted: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wanted = wanted


class Keeping(Service):
    """Is told a secret."""

    def __init__(self, password: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._password = password

    @endpoint("/length")
    async def length(self) -> Name:
        """Tell a little of it."""
        return Name(name=str(len(self._password)))


@pytest.fixture(autouse=True)
def pid_files(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own for each test's files of processes."""
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(tmp_path)):
        yield tmp_path / "server_pids"


@contextlib.contextmanager
def taken(family: socket.AddressFamily, address: str) -> Generator[int]:
    """Listen on a port, as some other program."""
    with socket.socket(family) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind((address, 0))
        other.listen()
        yield other.getsockname()[1]


# forms


def test_a_launch_returns_when_the_service_is_ready(pid_files: Path) -> None:
    with launched(Plain) as manager:
        port = port_of(manager.url)
        for *_, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            socket.create_connection(address[:2]).close()
        assert manager.status().status is ServerStatus.AVAILABLE
        assert manager.pid().pid == manager.process_id
        assert manager._server_id == manager.heartbeat().heartbeat.server_id
        assert manager._server_pid_file == manager.pid_file().pid_file

        assert [each.read_text() for each in pid_files.glob("*")] == [str(manager.process_id)]


def test_a_file_of_a_process_is_for_its_owner_alone(pid_files: Path) -> None:
    with launched(Plain):
        assert [each.stat().st_mode & 0o777 for each in pid_files.glob("*")] == [0o600]


def test_without_waiting_the_url_waits_until_the_port_is_known() -> None:
    with launched(Plain, wait_for_launch=False) as manager:
        assert port_of(manager.url) != 0
        assert manager.status().status is ServerStatus.AVAILABLE


def test_without_waiting_a_call_waits_for_the_service() -> None:
    with launched(Slow, wait_for_launch=False) as manager:
        assert manager.started().name == "started"


def test_without_waiting_a_failure_shows_when_somebody_waits() -> None:
    with launched(Failing, wait_for_launch=False, how="startup") as manager:
        with pytest.raises(ServiceLaunchError, match="no camera"):
            manager.wait_for_launch()
        with pytest.raises(ServiceLaunchError, match="no camera"):
            _ = manager.url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "[::1]", "127.0.0.2"])
def test_a_launch_takes_a_host(host: str) -> None:
    with launched(Plain, host=host) as manager:
        assert manager.status().status is ServerStatus.AVAILABLE


def test_a_launch_takes_a_url() -> None:
    with launched(Plain, url="http://127.0.0.1:0", port=None) as manager:
        assert str(manager.url).startswith("http://127.0.0.1:")
        assert manager.status().status is ServerStatus.AVAILABLE


def test_a_launch_takes_a_port() -> None:
    with taken(socket.AF_INET, "127.0.0.1") as port:
        pass
    with launched(Plain, host="127.0.0.1", port=port) as manager:
        assert port_of(manager.url) == port


def test_a_launch_refuses_a_url_together_with_a_port() -> None:
    with pytest.raises(ValueError, match="not both"):
        Plain.launch(url="http://localhost:0", port=0)


def test_a_launch_refuses_no_workers() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Plain.launch(port=0, num_workers=0)


def test_a_blocking_launch_returns_when_another_client_shuts_the_service_down(
    pid_files: Path,
) -> None:
    with taken(socket.AF_INET, "127.0.0.1") as port:
        url = f"http://127.0.0.1:{port}"
    done = threading.Event()

    def block() -> None:
        Plain.launch(url=url, block=True)
        done.set()

    with leaving_nothing(pid_files):
        thread = threading.Thread(target=block)
        thread.start()
        eventually(lambda: Plain.status_at_host(url) is ServerStatus.AVAILABLE)
        assert not done.is_set()
        Plain.connect(url).shutdown()
        assert done.wait(DEADLINE)
        thread.join()


def test_several_threads_launch_at_the_same_time(pid_files: Path) -> None:
    processes: list[int] = []

    def launch() -> None:
        with Plain.launch(port=0) as manager:
            processes.append(manager.pid().pid)

    with leaving_nothing(pid_files):
        threads = [threading.Thread(target=launch) for _ in range(5)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    assert len(set(processes)) == 5


def test_of_two_launches_on_one_port_one_succeeds(pid_files: Path) -> None:
    with taken(socket.AF_INET, "127.0.0.1") as port:
        pass
    found: list[Any] = []

    def launch() -> None:
        try:
            found.append(Slow.launch(host="127.0.0.1", port=port))
        except ServicePortInUseError as error:
            found.append(error)

    with leaving_nothing(pid_files):
        threads = [threading.Thread(target=launch) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        kinds = sorted(isinstance(each, ConnectionManager) for each in found)
        assert kinds == [False, True], found
        for each in found:
            if isinstance(each, ConnectionManager):
                each.shutdown()


# what is shown

SHOWING = """
    from processes_support import Plain
    print("ready", flush=True)
    with Plain.launch(port=0, progress_bar={bar}):
        print("up", flush=True)
"""


def test_a_launch_shows_on_a_terminal_that_it_is_under_way(tmp_path: Path) -> None:
    with Program(SHOWING.format(bar=True), tmp_path, terminal=True) as program:
        assert program.ended() == 0
        assert "Launching Plain" in program.text()


def test_a_launch_is_silent_on_a_terminal_if_told_so(tmp_path: Path) -> None:
    with Program(SHOWING.format(bar=False), tmp_path, terminal=True) as program:
        assert program.ended() == 0
        assert program.text() == ""


def test_a_launch_is_silent_where_nobody_looks(tmp_path: Path) -> None:
    with Program(SHOWING.format(bar=True), tmp_path) as program:
        assert program.ended() == 0
        assert program.text() == ""


@pytest.mark.parametrize("stream", ["None", "Odd()", "io.StringIO()", "closed()"])
def test_a_launch_minds_no_odd_stderr(tmp_path: Path, stream: str) -> None:
    source = f"""
        import io, sys
        from processes_support import Plain, Text
        class Odd:
            def write(self, text):
                raise LookupError
            def flush(self):
                pass
        def closed():
            stream = io.StringIO()
            stream.close()
            return stream
        sys.stderr = {stream}
        with Plain.launch(port=0) as manager:
            for _ in range(3):
                manager.say(text="something")
            print(manager.status().status.value)
    """
    assert ran(source, tmp_path) == "Available"


# failures


FAILURES = [
    ("init", "LookupError: no camera", "a line in __init__"),
    ("sys_exit", "ended with exit code 1", "no licence"),
    ("startup", r"LookupError in startup\(\): no camera", "a line in startup"),
    ("async", r"LookupError in startup\(\): no network", "a line in startup"),
    ("exit", "ended with exit code 7", "a line in startup"),
    ("kill", "was killed by signal 9", "a line in startup"),
    ("segfault", "was killed by signal 11", "Segmentation fault"),
]


@pytest.mark.parametrize("detach", [False, True])
@ONE_OR_TWO_WORKERS
@pytest.mark.parametrize(("how", "problem", "line"), FAILURES)
def test_a_failed_start_says_why_and_leaves_nothing(
    pid_files: Path, how: str, problem: str, line: str, workers: int, detach: bool
) -> None:
    with leaving_nothing(pid_files):
        with pytest.raises(ServiceLaunchError, match=problem) as caught:
            Failing.launch(port=0, how=how, num_workers=workers, detach=detach)

        assert line in caught.value.output
        assert line in str(caught.value)
        assert caught.value.service == "Failing"


def test_the_very_last_lines_of_a_failed_start_are_told() -> None:
    for _ in range(3):
        with pytest.raises(ServiceLaunchError, match="exit code 9") as caught:
            Failing.launch(port=0, how="loud")

        assert caught.value.output.splitlines()[-1] == "line 19999"
        assert len(caught.value.output.splitlines()) == 50


@ONE_OR_TWO_WORKERS
@pytest.mark.parametrize("how", ["hang", "async_hang"])
def test_a_start_that_hangs_is_ended(pid_files: Path, how: str, workers: int) -> None:
    with leaving_nothing(pid_files):
        with pytest.raises(ServiceLaunchError, match="not ready within 3 s") as caught:
            Failing.launch(port=0, how=how, timeout=3.0, num_workers=workers)

        # on a slow machine it may not have come that far
        assert not caught.value.output or "a line in __init__" in caught.value.output


def test_a_child_that_forks_and_dies_is_noticed(tmp_path: Path) -> None:
    source = """
        from processes_support import Failing
        from mindtrace.services import ServiceLaunchError
        try:
            Failing.launch(port=0, how="fork")
        except ServiceLaunchError as error:
            print(error.problem, "a line in startup" in error.output)
    """
    with Program(source, tmp_path) as program:
        assert program.line() == "its process ended with exit code 8 True"
        assert program.ended() == 0


def test_a_module_that_cannot_be_imported_there_fails_the_launch(
    tmp_path: Path, pid_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "only_once.py"
    module.write_text(
        "import os\n"
        "from mindtrace.services import Service\n"
        "if os.environ.get('SECOND_TIME'):\n"
        "    raise ImportError('the library is missing here')\n"
        "class Once(Service):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    only_once = import_module("only_once")

    with leaving_nothing(pid_files), environment(SECOND_TIME="yes"):
        with pytest.raises(ServiceLaunchError, match="the library is missing here") as caught:
            only_once.Once.launch(port=0)
        assert "only_once.py" in caught.value.output


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_port_that_a_stranger_has_is_named(
    pid_files: Path, family: socket.AddressFamily, address: str
) -> None:
    with taken(family, address) as port, leaving_nothing(pid_files):
        with pytest.raises(ServicePortInUseError, match=f"port {port} of {address} is") as caught:
            Plain.launch(host=address, port=port)

        assert (caught.value.host, caught.value.port) == (address, port)


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_port_that_a_stranger_has_on_one_address_of_a_name_is_named(
    pid_files: Path, family: socket.AddressFamily, address: str
) -> None:
    names = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    if address not in {each[-1][0] for each in names}:
        pytest.skip(f"here localhost is not {address}")
    with (
        taken(family, address) as port,
        leaving_nothing(pid_files),
        pytest.raises(ServicePortInUseError, match=f"port {port} of localhost is"),
    ):
        Plain.launch(port=port)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_one_of_ours_has_is_named(pid_files: Path, workers: int) -> None:
    with launched(Plain) as manager:
        footprint = Footprint(pid_files)
        with pytest.raises(ServicePortInUseError):
            Plain.launch(url=manager.url, num_workers=workers)

        footprint.check()
        assert manager.status().status is ServerStatus.AVAILABLE


def test_an_unknown_host_is_named(pid_files: Path) -> None:
    with leaving_nothing(pid_files), pytest.raises(ServiceLaunchError, match=r"nowhere\.invalid"):
        Plain.launch(host="nowhere.invalid", port=0, insecure=True)


def test_an_address_of_another_machine_is_named(pid_files: Path) -> None:
    with leaving_nothing(pid_files), pytest.raises(ServiceLaunchError, match=r"192\.0\.2\.1"):
        Plain.launch(host="192.0.2.1", port=0, insecure=True)


def test_a_name_that_is_too_long_is_named(pid_files: Path) -> None:
    with leaving_nothing(pid_files), pytest.raises((ServiceLaunchError, ValueError)):
        Plain.launch(host="a" * 70 + ".example", port=0, insecure=True)


def test_other_machines_are_not_let_in_without_a_token(pid_files: Path) -> None:
    with leaving_nothing(pid_files), pytest.raises(InsecureBindError):
        Plain.launch(host="0.0.0.0", port=0)


def test_a_port_that_needs_a_privilege_is_named(tmp_path: Path) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest == 0:
        pytest.skip("here every user may listen on every port")
    tmp_path.chmod(0o777)
    source = f"""
        import os
        from processes_support import Plain
        from mindtrace.services import ServiceLaunchError
        if os.getuid() == 0:
            import ctypes
            # the one privilege that it is about: CAP_NET_BIND_SERVICE
            assert ctypes.CDLL(None).prctl(24, 10, 0, 0, 0) == 0
            os.environ["DROPPED"] = "yes"
        try:
            Plain.launch(port={lowest - 1})
        except ServiceLaunchError as error:
            print(type(error).__name__, error.problem)
    """
    printed = ran(source, tmp_path)
    assert printed == (
        f"ServiceLaunchError it cannot listen on port {lowest - 1} of localhost: Permission denied"
    )


def test_what_cannot_be_pickled_is_named(pid_files: Path) -> None:
    lock = threading.Lock()

    class Holding(Service):
        """Holds something of this process."""

        @endpoint("/lock")
        def lock(self) -> None:
            """Use it."""
            lock.acquire()

    with leaving_nothing(pid_files):
        with pytest.raises(
            TypeError, match=r"Holding cannot be sent to a process of its own: .*lock"
        ):
            Holding.launch(port=0)
        with pytest.raises(TypeError, match="the parameter 'how' of Failing cannot be sent"):
            Failing.launch(port=0, how=lock)


def test_a_class_that_needs_arguments_is_named(pid_files: Path) -> None:
    with leaving_nothing(pid_files), pytest.raises(TypeError, match="Give the arguments"):
        Needy.launch(port=0, wanted="something")


def test_a_process_without_descriptors_says_so(pid_files: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds()
    with leaving_nothing(pid_files):
        with contextlib.ExitStack() as stack:
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            opened: list[int] = []
            with contextlib.suppress(OSError):
                while True:
                    opened.append(os.open(os.devnull, os.O_RDONLY))
            stack.callback(lambda: [os.close(each) for each in opened])
            # one more at each try, so that it fails at each place
            for _ in range(8):
                with pytest.raises((ServiceLaunchError, OSError)):
                    Plain.launch(port=0)
                os.close(opened.pop())
        with Plain.launch(port=0) as manager:
            assert manager.status().status is ServerStatus.AVAILABLE


def test_a_machine_without_more_processes_says_so(tmp_path: Path) -> None:
    source = """
        import os, resource, sys
        from processes_support import Plain
        from mindtrace.services import ServiceLaunchError
        print(os.getpid(), flush=True)
        sys.executable = "/nowhere/python"
        try:
            Plain.launch(port=0)
        except ServiceLaunchError as error:
            print(error.problem)
    """
    assert "no process could be started" in ran(source, tmp_path)


def test_many_open_descriptors_are_in_nobodys_way(pid_files: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this user may not open that many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]
    try:
        with leaving_nothing(pid_files), Plain.launch(port=0) as manager:
            assert manager.pid().pid == manager.process_id
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# what a child gets of its parent


def test_variables_that_were_set_at_run_time_reach_the_child() -> None:
    with environment(SET_AT_RUN_TIME="yes"), launched(Plain) as manager:
        assert manager.variable(name="SET_AT_RUN_TIME").text == "yes"


def test_a_child_is_in_the_folder_that_its_parent_changed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with launched(Plain) as manager:
        assert manager.folder().text == str(tmp_path)


def test_modules_in_the_current_folder_hide_nothing_of_the_library(tmp_path: Path) -> None:
    for name in ("socket", "json", "logging", "mindtrace", "uvicorn", "types"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')")
    source = """
        from processes_support import Plain
        with Plain.launch(port=0) as manager:
            print(manager.status().status.value)
    """
    assert ran(source, tmp_path, how="-", flags=("-P",)) == "Available"
    assert ran(source, tmp_path, how="-", variables={"PYTHONSAFEPATH": "1"}) == "Available"


@pytest.mark.parametrize(
    "flags", [("-X", "dev"), ("-W", "error"), ("-O",), ("-B",), ("-s",), ("-X", "utf8=0"), ("-bb",)]
)
def test_flags_of_the_interpreter_do_not_break_the_child(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    source = """
        from processes_support import Plain
        with Plain.launch(port=0) as manager:
            print(manager.status().status.value)
    """
    with Program(source, tmp_path, flags=flags) as program:
        assert program.line() == "Available"
        assert program.ended() == 0
        assert program.text() == ""
        eventually(program.leaves_nothing)


def test_modules_of_ours_hide_nothing_of_the_library(tmp_path: Path) -> None:
    """Without `site`, little of it is loaded when the child begins."""
    source = """
        from processes_support import Plain
        with Plain.launch(port=0) as manager:
            print(manager.status().status.value)
    """
    path = os.pathsep.join(each for each in sys.path if each)
    assert ran(source, tmp_path, flags=("-S",), variables={"PYTHONPATH": path}) == "Available"


def test_the_flags_of_the_interpreter_reach_the_child(tmp_path: Path) -> None:
    source = """
        import sys
        from mindtrace.services import Service, endpoint
        class Flags(Service):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.add_endpoint("/flags", self.flags)
            def flags(self) -> dict:
                return {"dev": sys.flags.dev_mode, "optimize": sys.flags.optimize}
        with Flags.launch(port=0) as manager:
            print(manager.flags())
    """
    assert ran(source, tmp_path, flags=("-X", "dev", "-O")) == "{'dev': True, 'optimize': 1}"


def test_what_is_no_text_on_the_path_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nowhere"), "/caf\udce9"])
    with launched(Plain) as manager:
        assert manager.status().status is ServerStatus.AVAILABLE


def test_signals_that_the_parent_holds_back_reach_the_child(tmp_path: Path) -> None:
    source = """
        import signal, subprocess
        from processes_support import Plain
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        manager = Plain.launch(port=0)
        manager._child.terminate()
        print(manager._child.wait(60), manager._child.process.returncode)
    """
    # of a process that nobody waits for, the system does not keep how it ended
    assert ran(source, tmp_path) == "True 0"


def test_a_parent_without_stdin_stdout_and_stderr_launches(tmp_path: Path) -> None:
    result = tmp_path / "result"
    source = f"""
        import os
        from processes_support import Plain
        for each in (0, 1, 2):
            os.close(each)
        try:
            with Plain.launch(port=0) as manager:
                found = manager.status().status.value
        except Exception as error:
            found = repr(error)
        with open({str(result)!r}, "w") as file:
            file.write(found)
        os._exit(0)
    """
    with Program(source, tmp_path) as program:
        program.ended()
    assert result.read_text() == "Available"


# secrets


def test_nothing_secret_is_in_the_list_of_processes(tmp_path: Path) -> None:
    with launched(Keeping, password="swordfish") as manager:
        assert manager.length().name == "9"
        for each in ("cmdline", "environ"):
            shown = Path(f"/proc/{manager.process_id}/{each}").read_bytes()
            assert b"swordfish" not in shown


def test_the_list_of_processes_names_the_service() -> None:
    with launched(Plain) as manager:
        shown = Path(f"/proc/{manager.process_id}/cmdline").read_bytes().split(b"\0")
        assert b"processes_support.Plain" in shown
        assert b"localhost:0" in shown
