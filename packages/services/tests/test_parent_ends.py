"""A child does not outlive its parent, however that ends; a detached one does."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from processes_support import ONE_OR_TWO_WORKERS, Plain, Program, is_gone
from services_support import eventually

from mindtrace.services import ServerStatus

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

LAUNCHING = """
    import os, signal, sys, threading
    from processes_support import Failing, Plain
    manager = Plain.launch(port=0, num_workers={workers})
    print(manager.process_id, flush=True)
    {end}
"""
ENDS = {
    "normally": "pass",
    "by an exception": "raise LookupError",
    "by sys.exit": "sys.exit(3)",
    "by os._exit": "os._exit(4)",
    "by SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "by SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "by SIGHUP": "os.kill(os.getpid(), signal.SIGHUP)",
    "by SIGSEGV": "os.kill(os.getpid(), signal.SIGSEGV)",
    "by SIGINT": "os.kill(os.getpid(), signal.SIGINT)",
    "in an exit handler": "import atexit; atexit.register(lambda: print(manager.status()))",
    "with a thread that launched": (
        "t = threading.Thread(target=lambda: Plain.launch(port=0)); t.start(); t.join()"
    ),
}


@ONE_OR_TWO_WORKERS
@pytest.mark.parametrize("how", ENDS)
def test_a_child_ends_with_its_parent(tmp_path: Path, how: str, workers: int) -> None:
    source = LAUNCHING.format(end=ENDS[how], workers=workers)
    with Program(source, tmp_path) as program:
        child = program.number()
        program.ended()

        eventually(lambda: is_gone(child))
        eventually(program.leaves_nothing)


def test_a_handler_at_exit_may_still_call_the_service(tmp_path: Path) -> None:
    end = "import atexit; atexit.register(lambda: print(manager.status().status.value))"
    with Program(LAUNCHING.format(end=end, workers=1), tmp_path) as program:
        program.number()

        assert program.line() == "Available"
        assert program.ended() == 0


def test_a_launch_at_exit_leaves_nothing(tmp_path: Path) -> None:
    source = """
        import atexit
        from processes_support import Plain
        def late():
            try:
                print(Plain.launch(port=0).status().status.value, flush=True)
            except Exception as error:
                print(type(error).__name__, flush=True)
        atexit.register(late)
    """
    with Program(source, tmp_path) as program:
        assert program.line() in {"Available", "ServiceLaunchError"}  # as this Python allows
        program.ended()

        eventually(program.leaves_nothing)


@pytest.mark.parametrize("how", ["hang", "async_hang"])
def test_a_child_that_still_starts_ends_with_its_parent(tmp_path: Path, how: str) -> None:
    source = f"""
        from processes_support import Failing
        Failing.launch(port=0, how={how!r})
    """
    with Program(source, tmp_path) as program:
        eventually(lambda: "a line in startup" in program.text())
        program.process.kill()
        program.ended()

        eventually(program.leaves_nothing)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_parent_that_dies_at_any_moment_of_a_launch_leaves_nothing(
    tmp_path: Path, workers: int
) -> None:
    source = f"""
        import os, signal, sys, threading
        from processes_support import Plain
        threading.Timer(float(os.environ["AFTER"]), os.kill, (os.getpid(), signal.SIGKILL)).start()
        Plain.launch(port=0, num_workers={workers})
        threading.Event().wait()
    """
    for tenths in range(0, 12, 2):
        with Program(source, tmp_path, variables={"AFTER": str(tenths / 10)}) as program:
            assert program.ended() == -signal.SIGKILL
            eventually(program.leaves_nothing)


def test_a_parent_that_dies_during_a_request_leaves_nothing(tmp_path: Path) -> None:
    source = """
        import threading
        from processes_support import Plain
        manager = Plain.launch(port=0)
        threading.Thread(target=manager.hold, daemon=True).start()
        while not manager.is_held().text:
            pass
        print("held", flush=True)
        threading.Event().wait()
    """
    with Program(source, tmp_path, variables={"MINDTRACE_SERVICES__STOP_WITHIN": "1"}) as program:
        assert program.line() == "held"
        program.process.kill()
        program.ended()

        eventually(program.leaves_nothing)


def test_a_parent_whose_forked_child_holds_the_pipe_open_leaves_nothing(tmp_path: Path) -> None:
    source = """
        import multiprocessing, threading
        from processes_support import Plain
        manager = Plain.launch(port=0)
        other = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
        other.start()
        print(other.pid, manager.process_id, flush=True)
        threading.Event().wait()
    """
    with Program(source, tmp_path) as program:
        forked, child = (int(each) for each in program.line().split())
        program.process.kill()
        program.process.wait()

        eventually(lambda: is_gone(child))
        assert psutil.Process(forked).is_running()


def test_a_child_of_a_thread_that_ended_lives(tmp_path: Path) -> None:
    source = """
        import threading
        from processes_support import Plain
        found = []
        thread = threading.Thread(target=lambda: found.append(Plain.launch(port=0)))
        thread.start()
        thread.join()
        print(found[0].status().status.value, flush=True)
    """
    with Program(source, tmp_path) as program:
        assert program.line() == "Available"
        assert program.ended() == 0
        eventually(program.leaves_nothing)


def test_a_forked_process_uses_and_ends_the_service_of_its_parent(tmp_path: Path) -> None:
    source = """
        import os
        from processes_support import Plain
        manager = Plain.launch(port=0)
        forked = os.fork()
        if forked == 0:
            print(manager.status().status.value, manager._child.is_alive, flush=True)
            manager.shutdown()
            print(manager._child.is_alive, flush=True)
            os._exit(0)
        os.waitpid(forked, 0)
        print(manager._child.wait(60), manager._child.is_alive)
    """
    with Program(source, tmp_path) as program:
        lines = [program.line() for _ in range(3)]
        assert lines == ["Available True", "False", "True False"]
        assert program.ended() == 0


def test_a_forked_process_that_ends_leaves_the_service_to_its_parent(tmp_path: Path) -> None:
    source = """
        import os, sys
        from processes_support import Plain
        manager = Plain.launch(port=0)
        forked = os.fork()
        if forked == 0:
            sys.exit(0)
        os.waitpid(forked, 0)
        print(manager.status().status.value)
    """
    with Program(source, tmp_path) as program:
        assert program.line() == "Available"
        assert program.ended() == 0


def test_a_forked_process_launches_services_of_its_own(tmp_path: Path) -> None:
    source = """
        import multiprocessing, os
        from processes_support import Plain
        first = Plain.launch(port=0)
        def work():
            with Plain.launch(port=0) as manager:
                print(manager.pid().parent == os.getpid(), flush=True)
            Plain.launch(port=0)
        other = multiprocessing.get_context("fork").Process(target=work)
        other.start()
        other.join()
        print(first.status().status.value, other.exitcode)
    """
    with Program(source, tmp_path) as program:
        assert program.line() == "True"
        assert program.line() == "Available 0"
        assert program.ended() == 0
        eventually(program.leaves_nothing)


def test_what_a_service_launched_ends_with_it(tmp_path: Path) -> None:
    source = """
        import os, signal
        from mindtrace.services import Service
        from processes_support import Plain
        class Above(Service):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.add_endpoint("/below", self.below)
            def startup(self):
                self.first = Plain.launch(port=0)
            def below(self) -> dict:
                self.second = Plain.launch(port=0)
                return {"all": [self.first.pid().pid, self.second.pid().pid]}
        for end in ("shutdown", signal.SIGTERM, signal.SIGKILL):
            manager = Above.launch(port=0)
            print(*manager.below()["all"], flush=True)
            if end == "shutdown":
                manager.shutdown()
            else:
                os.kill(manager.process_id, end)
            input()
    """
    with Program(source, tmp_path, how="-c") as program:
        for _ in range(3):
            first, second = (int(each) for each in program.line().split())
            eventually(lambda one=first, two=second: is_gone(one) and is_gone(two))  # type: ignore[misc]
            assert program.process.stdin is not None
            program.process.stdin.write(b"\n")
            program.process.stdin.flush()
        assert program.ended() == 0
        eventually(program.leaves_nothing)


# detached


DETACHING = """
    import os, signal
    from processes_support import Plain
    manager = Plain.launch(port=0, detach=True, num_workers={workers})
    print(manager.process_id, manager.url, flush=True)
    manager.say(text="before the end")
    {end}
"""


@ONE_OR_TWO_WORKERS
@pytest.mark.parametrize("how", ["normally", "by SIGKILL"])
def test_a_detached_child_lives_on_and_writes_to_a_file(
    tmp_path: Path, how: str, workers: int
) -> None:
    source = DETACHING.format(end=ENDS[how], workers=workers)
    with Program(source, tmp_path, flags=("-X", "dev")) as program:
        child, url = program.line().split()
        program.ended()
        assert program.text() == ""

        manager = Plain.connect(url)
        assert manager.status().status is ServerStatus.AVAILABLE
        manager.say(text="after the end")
        manager.shutdown()
        (log,) = (tmp_path / "mindtrace" / "logs").glob("Plain-*.log")

        eventually(lambda: is_gone(int(child)))
        assert "before the end\nafter the end\n" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600
        eventually(program.leaves_nothing)


def test_a_detached_child_ends_by_sigterm(tmp_path: Path) -> None:
    with Program(DETACHING.format(end="pass", workers=1), tmp_path) as program:
        child, _ = program.line().split()
        program.ended()
        os.kill(int(child), signal.SIGTERM)

        eventually(program.leaves_nothing)


# the user's own handlers


def test_the_handlers_of_the_parent_stay_its_own(tmp_path: Path) -> None:
    source = """
        import os, signal
        from processes_support import Plain
        seen = []
        handlers = [lambda *_: seen.append("TERM"), lambda *_: seen.append("INT")]
        signal.signal(signal.SIGTERM, handlers[0])
        signal.signal(signal.SIGINT, handlers[1])
        with Plain.launch(port=0) as manager:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            print(seen, manager.status().status.value, flush=True)
        print([signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers)
    """
    with Program(source, tmp_path) as program:
        assert program.line() == "['TERM', 'INT'] Available"
        assert program.line() == "True"
        assert program.ended() == 0


@ONE_OR_TWO_WORKERS
def test_ctrl_c_at_a_terminal_is_for_the_parent_alone(tmp_path: Path, workers: int) -> None:
    source = f"""
        import threading, time
        from processes_support import Plain
        manager = Plain.launch(port=0, progress_bar=False, num_workers={workers})
        try:
            print(manager.process_id, flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            for _ in range(20):  # long enough for a child that heard the key to be gone
                time.sleep(0.05)
                status = manager.status().status.value
            print(status, flush=True)
            manager.shutdown()
            print("shut down", flush=True)
    """
    with Program(source, tmp_path, terminal=True) as program:
        program.number()
        program.press(b"\x03")

        assert program.line() == "Available"
        assert program.line() == "shut down"
        assert program.ended() == 0
        assert "Traceback" not in program.text()
        eventually(program.leaves_nothing)


@ONE_OR_TWO_WORKERS
def test_ctrl_c_ends_a_blocking_launch(tmp_path: Path, workers: int) -> None:
    source = f"""
        import threading
        from processes_support import Plain
        class Announcing(Plain):
            def startup(self):
                print("it starts")
        print("begin", flush=True)
        try:
            Announcing.launch(port=0, progress_bar=False, block=True, num_workers={workers})
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with Program(source, tmp_path, terminal=True) as program:
        assert program.line() == "begin"
        eventually(program.pid_files)
        eventually(lambda: program.text().count("it starts") == workers)
        program.press(b"\x03")

        assert program.line() == "interrupted"
        eventually(program.leaves_nothing)
        assert program.ended() == 0
        assert "Traceback" not in program.text()


def test_ctrl_c_during_a_launch_leaves_nothing(tmp_path: Path) -> None:
    source = """
        from processes_support import Failing
        try:
            Failing.launch(port=0, progress_bar=False, how="hang")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        input()
    """
    with Program(source, tmp_path, terminal=True) as program:
        eventually(lambda: "a line in startup" in program.text())
        program.press(b"\x03")

        assert program.line() == "interrupted"
        eventually(lambda: program.left() == [program.process.pid])
        assert program.pid_files() == []
        program.press(b"\n")
        assert program.ended() == 0
