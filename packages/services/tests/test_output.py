"""What a child writes appears on its parent's stderr, and never holds it up for long."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from processes_support import Plain, Program
from services_support import environment, eventually, launched

from mindtrace.core import MindtraceError
from mindtrace.services import Service, ServiceError, endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def pid_files(tmp_path: Path) -> Iterator[None]:
    """A folder of its own for each test's files of processes."""
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(tmp_path)):
        yield


@contextlib.contextmanager
def replaced() -> Generator[Callable[[], str]]:
    """Put something else in the place of stderr; give what returns its text."""
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        yield stream.getvalue


def test_lines_appear_when_they_are_written(tmp_path: Path) -> None:
    source = """
        from processes_support import Plain
        with Plain.launch(port=0) as manager:
            manager.say(text="spoken")
            input()
    """
    with Program(source, tmp_path) as program:
        eventually(lambda: "spoken\n" in program.text())


def test_lines_appear_on_what_is_in_the_place_of_stderr() -> None:
    with replaced() as shown, launched(Plain) as manager:
        manager.say(text="to another place")
        eventually(lambda: "to another place\n" in shown())


class Failing(Service):
    """Fails as it foresaw, and as it did not."""

    @endpoint("/as_foreseen")
    def as_foreseen(self) -> None:
        message = "the lamp is off: switch it on"
        raise MindtraceError(message)

    @endpoint("/as_not_foreseen")
    def as_not_foreseen(self) -> None:
        message = "the lamp is gone"
        raise LookupError(message)


def test_an_error_that_was_foreseen_is_logged_in_one_line() -> None:
    """It says everything; where it came from helps only with those that nobody foresaw."""
    with replaced() as shown, launched(Failing) as manager:
        for name in ("as_foreseen", "as_not_foreseen"):
            with pytest.raises(ServiceError, match="the lamp"):
                getattr(manager, name)()
        eventually(lambda: "LookupError: the lamp is gone\n" in shown())

    foreseen, _, rest = shown().partition("ERROR")
    assert "WARNING mindtrace.services.app /as_foreseen failed: the lamp is off: switch it on" in (
        foreseen
    )
    assert "Traceback" not in foreseen
    assert "/as_not_foreseen failed" in rest
    assert "Traceback" in rest


def test_text_of_any_kind_arrives_whole() -> None:
    text = "größer als 3 € 🎉 " * 1000
    odd = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    with replaced() as shown, launched(Plain, odd) as each:
        each.say(text=text)
        eventually(lambda: text in shown())


def test_text_without_an_end_of_line_appears_at_the_end_at_the_latest() -> None:
    with replaced() as shown, launched(Plain) as manager:
        manager.write(size=5000, line=100_000)
        assert shown() == ""
        manager.shutdown()
        eventually(lambda: shown() == "." * 5000)


def test_a_long_text_without_an_end_of_line_appears_before() -> None:
    with replaced() as shown, launched(Plain) as manager:
        manager.write(size=50_000, line=100_000)
        eventually(lambda: shown() == "." * 50_000)


@pytest.mark.parametrize("line", [100, 10_000_000])
def test_a_child_that_writes_much_is_not_held_up(line: int) -> None:
    with replaced() as shown, launched(Plain) as manager:
        manager.write(size=5_000_000, line=line)

        eventually(lambda: len(shown()) == 5_000_000)


def test_a_child_that_writes_while_its_parent_is_busy_is_not_held_up(tmp_path: Path) -> None:
    source = """
        import threading
        from processes_support import Plain
        with Plain.launch(port=0) as manager:
            thread = threading.Thread(target=manager.write, kwargs={"size": 5_000_000})
            thread.start()
            numbers = 0
            while thread.is_alive():
                numbers += sum(range(10_000))
            print("done", flush=True)
    """
    with Program(source, tmp_path) as program:
        assert program.line() == "done"
        assert program.ended() == 0
        assert len(program.shown) == 5_000_000


def test_a_parent_that_ends_while_a_child_writes_leaves_nothing(tmp_path: Path) -> None:
    source = """
        import os, threading, time
        from processes_support import Plain
        manager = Plain.launch(port=0)
        threading.Thread(
            target=manager.write, kwargs={"size": 10**12, "line": 1000}, daemon=True
        ).start()
        while not manager.status():
            pass
        os.kill(os.getpid(), 9)
    """
    with Program(source, tmp_path, variables={"MINDTRACE_SERVICES__STOP_WITHIN": "1"}) as program:
        program.ended()
        eventually(program.leaves_nothing)


def test_a_stderr_that_fails_holds_nobody_up() -> None:
    class Failing(io.StringIO):
        def write(self, text: str) -> Any:
            raise LookupError

    with contextlib.redirect_stderr(Failing()), launched(Plain) as manager:
        manager.write(size=5_000_000)
        assert manager.pid().pid == manager.process_id
