"""`Child`: the process of a launched service, as its parent sees it."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING

from mindtrace.core.clock import SystemClock
from mindtrace.services import launcher
from mindtrace.services.framing import Order, Report, framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mindtrace.services.interpreter import Interpreter

LINES = 50
"""Lines of output that are kept to be shown when a launch fails."""

KEPT = 1 << 16
"""Characters of output that are kept for that, at most."""

ROOM = 1 << 18
"""Bytes of output that a child may write before it has to wait for this process to read."""

_F_SETPIPE_SZ = 1031
_LONGEST_LINE = 8192
_LOOK_EVERY = 50
"""Milliseconds between looks at the child where there is no descriptor for a process."""


class Child:
    """A process that serves. It is ended at the latest when this process ends, unless detached.

    It may be used by threads, and by a process that was forked from the one that launched it.

    Args:
        order: What it is to do; the report's descriptor is filled in.
        payload: The class that it is to serve.
        title: Words for the list of processes.
        shares: Descriptors that it inherits.
        interpreter: What runs it, if not our own interpreter in our own folder.
        output: The file for what it writes; else that appears on our stderr.
        notify: Called from a thread when it has reported, and when it has ended.

    Raises:
        OSError: It could not be started.
        RuntimeError: Likewise: this process may have no more threads, or is about to end.
    """

    def __init__(  # noqa: PLR0913 - keywords, each with a default
        self,
        order: Order,
        payload: bytes,
        title: list[str],
        *,
        shares: tuple[int, ...] = (),
        interpreter: Interpreter | None = None,
        output: Path | None = None,
        notify: Callable[[], None] | None = None,
    ) -> None:
        self.order = order
        self.owner = os.getpid()
        self.output = output
        self._interpreter = interpreter
        self._notify = notify or _nothing
        self._written = ""
        self._said = bytearray()
        self._report: Report | None = None
        self._reported = threading.Event()
        self._ended = threading.Event()
        self._reports, order.report = _pipe()
        orders = framed(json.dumps(asdict(order)).encode()) + framed(payload)
        try:
            self.process = self._started(title, shares)
        except BaseException:
            os.close(self._reports)
            raise
        finally:
            os.close(order.report)
        self._reader = self._thread(self._read)
        try:
            if self.process.stdout is not None:
                self._reader.start()
            self._thread(self._supervise, orders).start()
        except BaseException:
            self._abandon()
            raise
        _living.add(self)

    def _started(self, title: list[str], shares: tuple[int, ...]) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(self.output.open("ab")) if self.output else subprocess.PIPE
            other = self._interpreter
            return subprocess.Popen(  # noqa: S603 - our own interpreter, or one that we are told
                _command(title, other.executable if other else sys.executable or ""),
                cwd=other.folder if other else None,
                env=other.environment() if other else None,
                stdin=subprocess.PIPE,
                stdout=target,
                stderr=subprocess.STDOUT,
                pass_fds=(self.order.report, *shares),
                # a Ctrl-C in the terminal is for us alone, and we tell the child
                start_new_session=True,
            )

    def _thread(self, target: Callable[..., None], *args: object) -> threading.Thread:
        name = f"mindtrace-launch-{self.process.pid}"
        return threading.Thread(target=target, args=args, name=name, daemon=True)

    def _abandon(self) -> None:
        """End it where nobody can look after it."""
        self.process.kill()
        self.process.wait()
        os.close(self._reports)
        for stream in (self.process.stdin, self.process.stdout):
            # what reads the output closes that itself
            if stream is not None and not (
                stream is self.process.stdout and self._reader.is_alive()
            ):
                stream.close()

    # what is known of it

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return not self._ended.is_set() and not self._is_gone_from_afar()

    def _is_gone_from_afar(self) -> bool:
        """Tell for a forked process, which has no threads of ours, whether it has ended."""
        if self.owner == os.getpid():
            return False
        try:
            os.kill(self.process.pid, 0)
        except ProcessLookupError:
            self._ended.set()
        return self._ended.is_set()

    def tail(self) -> str:
        """Return the last lines that it wrote."""
        written = self._written
        if self.output is not None:
            written = _end_of(self.output)
        elif self._ended.is_set():
            self._reader.join(5.0)  # not for long: what it started may write on
            written = self._written
        return "\n".join(written.splitlines()[-LINES:])

    def report(self, timeout: float | None) -> Report | None:
        """Wait for its report; None if there is none in time.

        A child that ends without a word gets one here.
        """
        self._reported.wait(timeout)
        return self._report

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; tell whether it has."""
        if self.owner == os.getpid():
            return self._ended.wait(timeout)
        end = None if timeout is None else monotonic() + timeout
        while self.is_alive and (end is None or monotonic() < end):
            SystemClock().sleep(0.02)
        return not self.is_alive

    # ending it

    def terminate(self) -> None:
        """Ask it to stop serving."""
        self._signal(signal.SIGTERM)

    def end(self, within: float) -> None:
        """Ask it to stop, and kill it if it does not within that many seconds."""
        self.terminate()
        if not self.wait(within):
            self._signal(signal.SIGKILL)
            self.wait(5.0)

    def _signal(self, number: int) -> None:
        if self.owner == os.getpid():
            self.process.send_signal(number)
        elif self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    # looking after it

    def _supervise(self, orders: bytes) -> None:
        """Tell it what to do, hear its report, and see it end."""
        stdin = self.process.stdin
        assert stdin is not None
        os.set_blocking(stdin.fileno(), False)
        self._unsaid = memoryview(orders)
        handle = _descriptor_of(self.process.pid)
        poll = select.poll()
        poll.register(stdin.fileno(), select.POLLOUT)
        poll.register(self._reports, select.POLLIN)
        if handle is not None:
            poll.register(handle, select.POLLIN)
        while self.process.poll() is None:
            for number, _ in poll.poll(_LOOK_EVERY if handle is None else None):
                if number != handle and not self._attend(number, stdin):
                    poll.unregister(number)
        if handle is not None:
            os.close(handle)
        self._has_ended(stdin)

    def _attend(self, number: int, stdin: IO[bytes]) -> bool:
        """Do what can be done with a descriptor; tell whether there is more to do with it."""
        if number == self._reports:
            return self._hear()
        self._unsaid = _sent(number, self._unsaid)
        if self._unsaid:
            return True
        if self.order.detached:
            stdin.close()
        return False

    def _hear(self) -> bool:
        """Take what there is of the report; tell whether there may be more."""
        part = os.read(self._reports, 65536)
        self._said += part
        if self._report is None and self._said.endswith(b"\n"):
            self._tell(Report(**json.loads(self._said)))
        return bool(part)

    def _tell(self, report: Report) -> None:
        self._report = report
        self._reported.set()
        self._notify()

    def _has_ended(self, stdin: IO[bytes]) -> None:
        """Put away what is left of it."""
        # not to the end: a process that was forked from it may hold that open
        while _is_readable(self._reports) and self._hear():
            pass
        os.close(self._reports)
        if self.order.own_pid_file:
            with contextlib.suppress(OSError):  # a killed child could not do it itself
                Path(self.order.own_pid_file).unlink(missing_ok=True)
        stdin.close()
        _living.discard(self)
        self._ended.set()
        if self._report is None:
            self._tell(Report(problem=f"its process {self._how()}"))
        self._notify()

    def _how(self) -> str:
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        with stream:
            _widen(stream)
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            waiting = ""
            while data := os.read(stream.fileno(), 65536):
                text = decoder.decode(data)
                self._written = (self._written + text)[-KEPT:]
                waiting += text
                # whole lines, for others write there as well
                whole = waiting.rfind("\n") + 1
                if len(waiting) - whole > _LONGEST_LINE:
                    whole = len(waiting)
                _show(waiting[:whole])
                waiting = waiting[whole:]
            _show(waiting)


def _command(title: list[str], executable: str) -> list[str]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    # -P: a module in the current folder must not hide one of the same name of the library
    return [executable, *flags, "-P", launcher.__file__, str(os.getpid()), *title]


def _pipe() -> tuple[int, int]:
    """Return a pipe for a child, whose own stdin, stdout and stderr take the first three numbers.

    They are free where this process has closed its own.
    """
    low: list[int] = []
    try:
        while True:
            ends = os.pipe()
            if min(ends) > 2:  # noqa: PLR2004 - stderr
                return ends
            low += ends
    finally:
        for each in low:
            os.close(each)


def _sent(pipe: int, data: memoryview) -> memoryview:
    """Write what fits; return the rest, which is nothing if nobody is there to read it."""
    try:
        return data[os.write(pipe, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # it has ended already, which its report says
        return data[:0]


def _is_readable(descriptor: int) -> bool:
    """Tell whether something can be read right now."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _descriptor_of(process: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    try:
        return None if opener is None else opener(process)
    except OSError:  # an older kernel, or no more descriptors
        return None


def _widen(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ImportError):  # a system without, or with a lower limit
        import fcntl  # noqa: PLC0415 - not everywhere

        fcntl.fcntl(stream.fileno(), _F_SETPIPE_SZ, ROOM)


def _end_of(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - KEPT))
        return stream.read(KEPT).decode("utf-8", "replace")


def _show(text: str) -> None:
    stream = sys.stderr
    # there may be none, or a closed one, or somebody's own that fails: the child must go on
    with contextlib.suppress(Exception):
        if text:
            stream.write(text)
            stream.flush()


def _nothing() -> None:
    pass


_living: set[Child] = set()


def end_together(children: Iterable[Child]) -> None:
    """End several children at the same time; each has the time that it was promised."""
    ending = list(children)
    for each in ending:
        each.terminate()
    start = monotonic()
    for each in ending:
        left = start + each.order.gone_within + 1.0 - monotonic()
        each.end(max(0.0, left))


def end_all() -> None:
    """End the children that this process launched, as its end does."""
    own = os.getpid()
    end_together(each for each in list(_living) if each.owner == own and not each.order.detached)


atexit.register(end_all)
