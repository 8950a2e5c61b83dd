"""Commands in processes of their own, and the end of all that they started."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from mindtrace.cluster.errors import RunScriptError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.cluster.run_script.output import Output, Stream

LOOK_EVERY = 0.1
"""Seconds between two looks at whether a command is to end."""

_KEEPER = Path(__file__).with_name("keeper.py")
_MARK = "MINDTRACE_RUN"
_AT_ONCE = 1 << 16
_REST_WITHIN = 1.0
_ENDED_WITHIN = 30.0
_LOOKS_IN_VAIN, _LOOK_AGAIN = 3, 0.01


@dataclass(frozen=True, slots=True)
class User:
    """As whom a command runs."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """What is run.

    Attributes:
        argv: The program, looked for on the `PATH` of `env`, and its arguments.
        cwd: Where it works.
        env: All the variables that it has.
        grace: Seconds between SIGTERM and SIGKILL when it is to end.
        memory: Bytes that all its processes may have together; looked at 20 times a second.
        processes: How many there may be, looked at likewise.
        file_size: Bytes of one file that it writes.
        user: As whom it runs, if this process may choose.
    """

    argv: list[str]
    cwd: Path
    env: dict[str, str] = field(repr=False)
    grace: float = 10.0
    memory: int | None = None
    processes: int | None = None
    file_size: int | None = None
    user: User | None = None


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: Its exit code; 128 and the signal that killed it, as a shell has it.
        limit: The limit that made it end: `memory`, `processes`, or a word of whoever stopped it.
        duration: Seconds that it took.
        problem: Why it was not started.
    """

    code: int
    limit: str | None
    duration: float
    problem: str | None = None


class _NotBegunError(RunScriptError):
    """Says that there was no keeper, and so no command."""

    def __init__(self) -> None:
        super().__init__("its keeper was not started, or was killed at once")


class Keepers:
    """Runs commands, several at a time, each under a keeper that lets nothing outlive it.

    What a command starts ends with it, and with this process, however that ends. Close it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forker: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def run(self, command: Command, output: Output, why_stop: Callable[[], str | None]) -> Ended:
        """Run a command until it ends, or is made to end.

        Args:
            command: What to run.
            output: Gets what it writes, as it comes.
            why_stop: Asked ten times a second; a word makes the command end, and is the limit that
                it hit.

        Raises:
            RunScriptError: The keeper was killed; what the command started is ended all the same.
        """
        try:
            return self._run(command, output, why_stop)
        except _NotBegunError:  # who forks keepers had just ended
            return self._run(command, output, why_stop)

    def _run(self, command: Command, output: Output, why_stop: Callable[[], str | None]) -> Ended:
        mark = uuid4().hex
        began = monotonic()
        told, out, err, answers = (os.pipe() for _ in range(4))
        try:
            forker = self._ask([told[0], out[1], err[1], answers[1]])
        except BaseException:
            for each in (told[1], out[0], err[0], answers[0]):
                os.close(each)
            raise
        finally:
            for each in (told[0], out[1], err[1], answers[1]):
                os.close(each)
        run = _Run({out[0]: output.out, err[0]: output.err}, answers[0], told[1], forker)
        try:
            run.begin(_as_json(command, mark))
            return run.until_ended(why_stop, began)
        finally:
            run.close()
            if not run.has_answered:
                _end_marked(mark)

    def close(self) -> None:
        """End the process that forks keepers; those that run go on until they are let go of."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._requests is not None and self._forker is not None:
            self._requests.close()
            try:
                self._forker.wait(_REST_WITHIN)
            except subprocess.TimeoutExpired:  # a command has stopped it
                self._forker.kill()
                self._forker.wait()
        self._requests = self._forker = None

    def _ask(self, descriptors: list[int]) -> int:
        """Ask for a keeper, and return who forks it."""
        with self._lock:
            if self._forker is not None and _end_stopped(self._forker.pid):
                self._forker.wait()
            if self._forker is None or self._forker.poll() is not None:
                self._close()
                self._launch()
            assert self._requests is not None
            assert self._forker is not None
            try:
                socket.send_fds(self._requests, [b"r"], descriptors)
            except (BrokenPipeError, ConnectionResetError):  # it ended just now
                self._close()
                raise _NotBegunError from None
            return self._forker.pid

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._forker = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", str(_KEEPER)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        self._requests = ours


class _Run:
    """One command that runs, as seen from here."""

    def __init__(self, streams: dict[int, Stream], answers: int, told: int, forker: int) -> None:
        self._forker = forker
        self._looked_at = monotonic()
        self._streams = streams
        self._answers = answers
        self._told = told
        self._selector = selectors.DefaultSelector()
        for each in (*streams, answers):
            self._selector.register(each, selectors.EVENT_READ)
        self._said = bytearray()

    @property
    def has_answered(self) -> bool:
        """Whether the keeper said how it ended."""
        return self._answer is not None

    @property
    def _answer(self) -> dict[str, Any] | None:
        lines = self._said.decode().splitlines()
        found: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
        return found if found and "code" in found else None

    def begin(self, command: bytes) -> None:
        """Say what to run."""
        with contextlib.suppress(BrokenPipeError):  # told by the missing answer
            while command:
                command = command[os.write(self._told, command) :]

    def until_ended(self, why_stop: Callable[[], str | None], began: float) -> Ended:
        """Read all that it writes, until it has ended."""
        stopped: str | None = None
        while self._answers in self._selector.get_map():
            self._read(LOOK_EVERY)
            self._look_after_keeper()
            if stopped is None and (stopped := why_stop()) is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._told, b"t")
        duration = monotonic() - began
        answer = self._answer
        if answer is None:
            if not self._said:
                raise _NotBegunError
            what = "the keeper of the command was killed, and the command with it"
            raise RunScriptError(what)
        end = monotonic() + _REST_WITHIN
        while self._selector.get_map() and monotonic() < end:
            self._read(LOOK_EVERY)
        code: int = answer["code"]
        return Ended(
            128 - code if code < 0 else code,
            answer["limit"] or stopped,
            duration,
            answer["problem"],
        )

    def _look_after_keeper(self) -> None:
        """End a keeper that was stopped by what it keeps: it would keep nothing any more."""
        if monotonic() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = monotonic()
        first, end, _ = self._said.partition(b"\n")
        said: dict[str, Any] = json.loads(first) if end else {}
        _end_stopped(said.get("pid", self._forker))

    def _read(self, within: float, *, keep: bool = True) -> None:
        for key, _ in self._selector.select(within):
            data = os.read(key.fd, _AT_ONCE)
            if not data:
                self._selector.unregister(key.fd)
            elif key.fd == self._answers:
                self._said += data
            elif keep:
                self._streams[key.fd].write(data)

    def close(self) -> None:
        """Let go: a keeper that runs yet ends all at once."""
        os.close(self._told)
        end = monotonic() + _ENDED_WITHIN
        with contextlib.suppress(OSError):  # a full disk, for one; it is told by whoever met it
            while self._answers in self._selector.get_map() and monotonic() < end:
                self._read(LOOK_EVERY, keep=False)
        self._selector.close()
        for each in (*self._streams, self._answers):
            os.close(each)


def _as_json(command: Command, mark: str) -> bytes:
    limits = {"RLIMIT_CORE": 0}
    if command.file_size is not None:
        limits["RLIMIT_FSIZE"] = command.file_size
    user = command.user
    values = {
        "argv": command.argv,
        "cwd": str(command.cwd),
        "env": {**command.env, _MARK: mark},
        "grace": command.grace,
        "memory": command.memory,
        "processes": command.processes,
        "rlimits": limits,
        "user": None if user is None else [user.uid, user.gid, list(user.groups)],
    }
    return json.dumps(values).encode() + b"\n"


def _end_stopped(process: int) -> bool:
    """Kill a process if somebody has stopped it, or traces it, and tell whether."""
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
        if state not in {b"T", b"t"}:
            return False
        os.kill(process, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _end_marked(mark: str) -> None:
    """Kill what a command has started whose keeper is gone: it still has the mark."""
    wanted = f"{_MARK}={mark}".encode()
    looks = 0
    while looks < _LOOKS_IN_VAIN:
        looks += 1
        for each in _processes():
            if _has(each, wanted):
                looks = 0
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(each, signal.SIGKILL)
        # one that becomes another program has no variables for a moment
        threading.Event().wait(_LOOK_AGAIN)


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _has(process: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
