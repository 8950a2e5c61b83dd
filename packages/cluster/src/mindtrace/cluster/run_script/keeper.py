"""Runs commands for a worker, and ends all that they started: a script of its own, for Linux.

It needs nothing but the standard library, and holds nothing of the worker. For each request on its
standard input, a socket, it forks a keeper, which starts one command and becomes the parent of all
that the command leaves behind, however often it forks. When the command has ended, or is to end, or
the worker is gone, the keeper ends all of them.

A request is four descriptors: what the keeper is told (first a line of JSON, then `t` for "end in
order"; its end means "end at once"), the command's two output streams, and where the keeper answers
in lines of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import time
from typing import Any

TICK = 0.05
"""Seconds between two looks at what a command uses."""

_GONE_WITHIN = 10.0
_SET_PDEATHSIG, _SET_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 36, 38
_FIRST_TO_DIE = "500"
_NOT_FOUND, _NOT_STARTED = 127, 126
_MORE_TASKS = 4096
"""Threads that a user may have beside the processes of a command, and beside what runs already."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Fork a keeper for each request, until there will be no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    requests = socket.socket(fileno=0)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1, 4)
        if not message:
            return
        for each in descriptors:
            os.set_inheritable(each, False)  # what flags of `recv_fds` would do is not done
        if os.fork() == 0:
            requests.close()
            code = 1
            try:
                keep(*descriptors)
                code = 0
            finally:
                os._exit(code)
        for each in descriptors:
            os.close(each)


def keep(told: int, out: int, err: int, answers: int) -> None:
    """Run one command, and answer how it ended."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    with contextlib.suppress(PermissionError):
        # to have its turn among thousands of processes
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
    command = json.loads(_line(told))
    started = _start(command, out, err)
    os.close(out)
    os.close(err)
    if isinstance(started, tuple):
        _answer(answers, code=started[0], problem=started[1], left=0, limit=None)
        return
    _answer(answers, pid=os.getpid())
    code, limit = _Watch(command, started, told).until_ended()
    _answer(answers, code=code, problem=None, left=end_all(), limit=limit)


def _line(descriptor: int) -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        data = os.read(descriptor, 1 << 16)
        if not data:  # the worker is gone
            os._exit(1)
        found += data
    return bytes(found)


def _answer(descriptor: int, **values: Any) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, json.dumps(values).encode() + b"\n")


# starting


def _start(command: dict[str, Any], out: int, err: int) -> int | tuple[int, str]:
    """Return the process, or an exit code and why there is none."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, out, err)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            code = _NOT_FOUND if missing else _NOT_STARTED
            what = error.filename or command["argv"][0]
            os.write(writing, json.dumps([code, f"{what}: {error.strerror}"]).encode())
        finally:
            os._exit(_NOT_STARTED)
    os.close(writing)
    with open(reading, "rb") as said:  # noqa: PTH123 - a descriptor
        problem = said.read()
    if not problem:
        return pid
    os.waitpid(pid, 0)
    code, text = json.loads(problem)
    return code, text


def _become(command: dict[str, Any], out: int, err: int) -> None:
    os.setsid()
    _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write(_FIRST_TO_DIE)
    uid = os.getuid() if command["user"] is None else command["user"][0]
    if uid != 0 and command["processes"] is not None:
        # counted with all others of the user: that the tree is too large, is seen elsewhere
        most = _tasks_of(uid) + _MORE_TASKS + command["processes"]
        command["rlimits"]["RLIMIT_NPROC"] = most
    for name, most in command["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)  # noqa: PLW2901 - nobody may have more than the keeper has
        resource.setrlimit(kind, (most, most))
    if command["user"] is not None:
        uid, gid, groups = command["user"]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # forgotten with the user
    # what is called with the rights of another user could not be ended
    _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir(command["cwd"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    # Python ignores these; a program expects them as they were
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)
    os.execvpe(command["argv"][0], command["argv"], command["env"])  # noqa: S606 - what it is for


def _tasks_of(uid: int) -> int:
    """Return how many threads a user has."""
    found = 0
    with os.scandir("/proc") as entries:
        for each in entries:
            if each.name.isdecimal():
                with contextlib.suppress(OSError):
                    if each.stat().st_uid == uid:
                        found += os.stat(f"{each.path}/task").st_nlink - 2  # noqa: PTH116
    return found


# watching


class _Watch:
    """Waits for the end of a command, and makes it end when it has to."""

    def __init__(self, command: dict[str, Any], pid: int, told: int) -> None:
        self._command = command
        self._pid = pid
        self._told = told
        self._ends: float | None = None
        """When a command that was asked to end is killed."""

    def until_ended(self) -> tuple[int, str | None]:
        """Return the exit code of the command, and the limit that it hit."""
        limit: str | None = None
        process = os.pidfd_open(self._pid)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(self._told, select.POLLIN)
        while True:
            happened = {each for each, _ in poll.poll(TICK * 1000)}
            _reap()
            code = _ended.get(self._pid)
            if code is not None and (self._ends is None or not descendants()):
                return code, limit
            if code is not None and process in happened:
                poll.unregister(process)
            if self._told in happened and not self._goes_on():
                break
            limit = self._limit_hit()
            if limit is not None or (self._ends is not None and time.monotonic() > self._ends):
                break
        end_all()
        return _ended.get(self._pid, -signal.SIGKILL), limit

    def _goes_on(self) -> bool:
        word = os.read(self._told, 1)
        if word == b"t" and self._ends is None:
            self._ends = time.monotonic() + self._command["grace"]
            for each in descendants():
                for number in (signal.SIGTERM, signal.SIGCONT):
                    _signal(each, number)
        return word != b""

    def _limit_hit(self) -> str | None:
        processes, memory = self._command["processes"], self._command["memory"]
        found = descendants()
        if processes is not None and len(found) > processes:
            return "processes"
        # what is shared is counted once only where it may matter: that takes long
        if memory and _memory(found) > memory and _own_memory(found) > memory:
            return "memory"
        return None


_ended: dict[int, int] = {}
"""The exit codes of the children that have ended."""


def _reap() -> None:
    """Take leave of all children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _ended[pid] = os.waitstatus_to_exitcode(status)


def descendants() -> list[int]:
    """Return all processes that this one and they have started."""
    found: list[int] = []
    look = [os.getpid()]
    while look:
        pid = look.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - called very often
            for thread in threads:
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                    look += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
        found.append(pid)
    return found[1:]


def _memory(processes: list[int]) -> int:
    pages = 0
    for each in processes:
        with (
            contextlib.suppress(OSError, IndexError),
            open(f"/proc/{each}/statm", "rb") as file,  # noqa: PTH123
        ):
            pages += int(file.read().split()[1])
    return pages * _PAGE


def _own_memory(processes: list[int]) -> int:
    """Return the memory of processes; what several of them share is divided among them."""
    total = 0
    for each in processes:
        with (
            contextlib.suppress(OSError, StopIteration),
            open(f"/proc/{each}/smaps_rollup", "rb") as file,  # noqa: PTH123
        ):
            total += int(next(line for line in file if line.startswith(b"Pss:")).split()[1]) * 1024
    return total


# ending


def end_all() -> int:
    """Kill all descendants, and return how many are left: those that may not be killed."""
    until = time.monotonic() + _GONE_WITHIN
    while True:
        _reap()
        found = descendants()
        if not found or time.monotonic() > until:
            return len(found)
        # a whole group at once: none of it can start another one meanwhile
        for group in {_group(each) for each in found} - {None, os.getpgrp()}:
            assert group is not None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for each in found:
            _signal(each, signal.SIGKILL)
        time.sleep(0.001)  # noqa: TID251 - a script without our clock


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


if __name__ == "__main__":
    main()
