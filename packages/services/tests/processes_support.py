"""What the tests of launching share: programs that launch, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

import psutil
import pytest
from pydantic import BaseModel
from services_support import DEADLINE, eventually

from mindtrace.services import Service, endpoint
from mindtrace.services.child import end_all

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

MARK = "MINDTRACE_TESTS_MARK"
TESTS = str(Path(__file__).parent)
ONE_OR_TWO_WORKERS = pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.stress)]
)
"""A service of two processes ends and fails as one of one does: that takes its time to try."""


def marked(mark: str) -> list[int]:
    """Return the processes that were started with a mark in their environment, and run."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and wanted in (each / "environ").read_bytes().split(b"\0"):
                found.append(int(each.name))
        except OSError:  # it is gone, or somebody else's
            continue
    return sorted(found)


def is_gone(process: int) -> bool:
    """Tell whether a process has ended, and is no zombie either."""
    return not psutil.pid_exists(process)


class Program:
    """A Python program of its own that a test starts, reads, and ends.

    Args:
        source: The program.
        folder: Where it runs.
        how: Whether Python gets it as a file, by `-`, or by `-c`.
        terminal: Whether its stderr is a terminal, with the program's group in the foreground.
        flags: Flags of the interpreter.
        variables: More of the environment.
    """

    def __init__(
        self,
        source: str,
        folder: Path,
        *,
        how: Literal["file", "-", "-c"] = "file",
        terminal: bool = False,
        flags: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
    ) -> None:
        source = textwrap.dedent(source)
        self.mark = uuid4().hex
        self.folder = folder
        path = folder / "program.py"
        path.write_text(source)
        command = {"file": [str(path)], "-": ["-"], "-c": ["-c", source]}[how]
        whole = [sys.executable, *flags, *command]
        if terminal:
            whole = [sys.executable, "-c", TAKE_TERMINAL, *whole]
        self.shown = b""
        self.terminal, theirs = pty.openpty() if terminal else (-1, subprocess.PIPE)
        self.process = subprocess.Popen(
            whole,
            stdin=subprocess.PIPE if not terminal else theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=folder,
            env=self._environment(variables or {}),
            start_new_session=True,
        )
        if how == "-":
            assert self.process.stdin is not None
            self.process.stdin.write(source.encode())
            self.process.stdin.close()
        if terminal:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"
        }
        return {
            **inherited,
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "MINDTRACE_DIR_PATHS__ROOT": str(self.folder / "mindtrace"),
            **variables,
        }

    def _read(self) -> None:
        """Read what it shows, so that it never has to wait."""
        stream = self.terminal if self.terminal >= 0 else self.process.stderr.fileno()  # type: ignore[union-attr]
        try:
            while data := os.read(stream, 65536):
                self.shown += data
        except OSError:  # a terminal that nobody has open any more
            pass

    def line(self) -> str:
        """Return its next line; empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def number(self) -> int:
        """Return its next line, a number."""
        line = self.line()
        assert line.isdigit(), (line, self.text())
        return int(line)

    def text(self) -> str:
        """Return what it showed on stderr until now."""
        return self.shown.decode("utf-8", "replace")

    def press(self, key: bytes) -> None:
        """Press a key at its terminal."""
        os.write(self.terminal, key)

    def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def left(self) -> list[int]:
        """Return the processes that run of it and of what it started."""
        return marked(self.mark)

    def pid_files(self) -> list[Path]:
        """Return the files with the numbers of its services."""
        return sorted((self.folder / "mindtrace" / "server_pids").glob("*"))

    def leaves_nothing(self) -> bool:
        """Tell whether no process and no file of a process is left."""
        return not self.left() and not self.pid_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.left():
            with contextlib.suppress(ProcessLookupError):  # the end of one may be that of another
                os.kill(each, signal.SIGKILL)
        self.process.kill()
        self.process.wait(DEADLINE)
        eventually(lambda: not self.left())
        if self.terminal >= 0:
            os.close(self.terminal)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self._reader.join(DEADLINE)
        if self.process.stderr is not None:
            self.process.stderr.close()


TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes stdin the terminal of this session, so that keys send signals, and becomes a program."""


def ran(source: str, folder: Path, **options: Any) -> str:
    """Run a program that has to succeed, and to leave nothing behind; return what it printed."""
    with Program(source, folder, **options) as program:
        assert program.process.stdout is not None
        printed = program.process.stdout.read().decode()
        code = program.ended()
        assert code == 0, program.text()
        eventually(program.leaves_nothing)
    return printed.strip()


def launch_threads() -> list[str]:
    """Return the threads that look after children."""
    names = (each.name for each in threading.enumerate())
    return [name for name in names if name.startswith("mindtrace-launch")]


class Footprint:
    """What this process holds: children, threads, descriptors, files."""

    def __init__(self, pid_files: Path) -> None:
        self._pid_files = pid_files
        self._process = psutil.Process()
        self.before = self.now()

    def now(self) -> dict[str, Any]:
        """Count."""
        return {
            "children": [each.pid for each in self._process.children(recursive=True)],
            "threads": launch_threads(),
            "descriptors": self._process.num_fds(),
            "pid files": sorted(each.name for each in self._pid_files.glob("*")),
        }

    def check(self) -> None:
        """Wait until all is as it was."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.now() == self.before)
        now = self.now()
        assert now == self.before, f"{now} instead of {self.before}"


@contextlib.contextmanager
def leaving_nothing(pid_files: Path) -> Generator[None]:
    """See that a block leaves nothing behind in this process."""
    gc.collect()  # clients of tests before
    eventually(lambda: not launch_threads())
    footprint = Footprint(pid_files)
    try:
        yield
    except BaseException:
        end_all()  # so that the next test begins with nothing
        raise
    footprint.check()


class Pid(BaseModel):
    """A process."""

    pid: int
    parent: int


class Size(BaseModel):
    """How much to write."""

    size: int
    line: int = 100


class Text(BaseModel):
    """Some text."""

    text: str


class Name(BaseModel):
    """A name."""

    name: str


class Plain(Service):
    """Tells about its process, and can be made to wait."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._held = 0
        self._released = threading.Event()

    @endpoint("/pid")
    async def pid(self) -> Pid:
        """Return its number."""
        return Pid(pid=os.getpid(), parent=os.getppid())

    @endpoint("/hold")
    def hold(self) -> Text:
        """Stay until released."""
        self._held += 1
        self._released.wait(DEADLINE)
        return Text(text="released")

    @endpoint("/is_held")
    async def is_held(self) -> Text:
        """Say whether somebody is held."""
        return Text(text="yes" if self._held else "")

    @endpoint("/release")
    async def release(self) -> None:
        """Let those go."""
        self._released.set()

    @endpoint("/write")
    def write(self, size: Size) -> None:
        """Write lines to stdout."""
        whole, rest = divmod(size.size, size.line)
        for _ in range(whole):
            print("." * (size.line - 1))  # noqa: T201 - that is asked for
        print("." * rest, end="", flush=True)  # noqa: T201

    @endpoint("/say")
    def say(self, text: Text) -> None:
        """Print a text, and a newline."""
        print(text.text)  # noqa: T201 - that is asked for

    @endpoint("/variable")
    async def variable(self, name: Name) -> Text:
        """Return a variable of the environment."""
        return Text(text=os.environ.get(name.name, ""))

    @endpoint("/folder")
    async def folder(self) -> Text:
        """Return the current folder."""
        return Text(text=str(Path.cwd()))


def _raise() -> None:
    message = "no camera"
    raise LookupError(message)


def _die_loudly() -> None:
    for number in range(20_000):
        print("line", number)  # noqa: T201 - it is looked for
    os._exit(9)


def _die_and_leave_a_process() -> None:
    if os.fork() == 0:
        threading.Event().wait()
    os._exit(8)


DEATHS: dict[str, Callable[[], object]] = {
    "startup": _raise,
    "exit": lambda: os._exit(7),
    "loud": _die_loudly,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": lambda: threading.Event().wait(),
    "fork": _die_and_leave_a_process,
}
"""How a service may fail in `startup`."""


class Failing(Service):
    """Fails at its start, in the way that it is told."""

    def __init__(self, how: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how = how
        if self.live_service:
            print("a line in __init__")  # noqa: T201 - it is looked for
        if how == "init":
            message = "no camera"
            raise LookupError(message)
        if how == "sys_exit":
            sys.exit("no licence")

    def startup(self) -> Any:
        """Fail."""
        print("a line in startup")  # noqa: T201 - it is looked for
        if self.how in DEATHS:
            DEATHS[self.how]()
        return self._startup() if self.how.startswith("async") else None

    async def _startup(self) -> None:
        if self.how == "async":
            message = "no network"
            raise LookupError(message)
        await asyncio.Event().wait()
