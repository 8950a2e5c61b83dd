"""Who is alive, and who waits: kernel locks and named pipes, one of each for every holder.

A holder has a *slot*, a small number. While its process lives, the kernel keeps a lock on that byte
of `holders.lock`; the lock goes when the process does, however it ended. `fcntl.lockf` is used, not
`flock`: a `flock` would live on in a child that a handler forked.

A waiting holder shows in `waiting` (shared memory) that it waits and for which queues, and blocks
on its named pipe. A publisher looks at that memory after its commit and writes to the pipes of
those who wait. The order "show it, look for jobs again, block" against "commit, look at the memory"
leaves no gap, for both sides pass through SQLite's own locks in between. A ring that fails is told
in the log and costs at most a second: those who wait look by themselves now and then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import select
import stat
import struct
import threading
import weakref
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from mindtrace.core import get_logger
from mindtrace.jobs.errors import BackendUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = 1024
LISTED = 8
"""Queues that a waiting slot can name; one that waits for more is rung for all."""

RESULTS = 0xFFFFFFFE
"""Stands for outcomes, where otherwise the number of a queue does."""

_ANY = 0xFFFFFFFF
_LIST = struct.Struct(f"{LISTED}I")
_SIZE = SLOTS + SLOTS * _LIST.size
"""A byte a slot that tells whether it waits, then what each waits for."""

_NOBODY = bytes(SLOTS)

WaitsFor = tuple[int, ...]


def _no_place(address: str) -> BackendUnavailableError:
    reason = f"all {SLOTS - 1} places for consumers are taken; close some, or use another folder"
    return BackendUnavailableError("local", address, reason)


class Presence(Protocol):
    """Slots of the living, and how to wake them."""

    def acquire(self) -> int:
        """Take a free slot and hold it until `release` or the end of this process."""
        ...

    def release(self, slot: int) -> None:
        """Give up a slot; the kernel would do the same at the end of this process."""
        ...

    def seize(self, slot: int) -> bool:
        """Take the slot of a holder that died; False while it lives. Ends with `release`."""
        ...

    def release_later(self, slot: int) -> None:
        """Release a slot at the next call of another method; takes no lock."""
        ...

    def show(self, slot: int, waits_for: WaitsFor) -> None:
        """Say for which queues (or `RESULTS`) the slot waits; () for nothing any more."""
        ...

    def wait(self, slot: int, seconds: float) -> None:
        """Block until the slot is rung or the time is up; old rings count."""
        ...

    def ring(self, what: int, count: int) -> None:
        """Wake up to `count` of those who wait for a queue (or `RESULTS`). Never raises."""
        ...

    def wake(self, slot: int) -> None:
        """Ring one slot of this process; safe in a signal handler."""
        ...

    def close(self) -> None:
        """Give up everything."""
        ...


class MemoryPresence:
    """Presence within one process, for a store in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # SimpleQueue, not Event: its put may interrupt its get, as it does in a signal handler
        self._bells: dict[int, SimpleQueue[None]] = {}
        self._waiting: dict[int, WaitsFor] = {}
        self._left: deque[int] = deque()

    def acquire(self) -> int:
        """Take a free slot."""
        self._release_left()
        with self._lock:
            slot = next((each for each in range(1, SLOTS) if each not in self._bells), None)
            if slot is None:
                raise _no_place("memory")
            self._bells[slot] = SimpleQueue()
            return slot

    def release(self, slot: int) -> None:
        """Give up a slot."""
        with self._lock:
            self._bells.pop(slot, None)
            self._waiting.pop(slot, None)

    def release_later(self, slot: int) -> None:
        """Release a slot at the next call of another method; takes no lock."""
        self._left.append(slot)

    def seize(self, slot: int) -> bool:
        """Take the slot of a holder that died; False while it lives."""
        self._release_left()
        with self._lock:
            if slot in self._bells:
                return False
            self._bells[slot] = SimpleQueue()
            return True

    def show(self, slot: int, waits_for: WaitsFor) -> None:
        """Say for which queues (or `RESULTS`) the slot waits; () for nothing any more."""
        with self._lock:
            if waits_for and slot in self._bells:
                self._waiting[slot] = waits_for
            else:
                self._waiting.pop(slot, None)

    def wait(self, slot: int, seconds: float) -> None:
        """Block until the slot is rung or the time is up."""
        bell = self._bells[slot]
        with contextlib.suppress(Empty):
            bell.get(timeout=seconds)
            while True:
                bell.get_nowait()

    def ring(self, what: int, count: int) -> None:
        """Wake up to `count` of those who wait for a queue (or `RESULTS`)."""
        if not self._waiting:
            return
        with self._lock:
            waiting = [slot for slot, queues in self._waiting.items() if what in queues][:count]
            for slot in waiting:
                del self._waiting[slot]
                self._bells[slot].put(None)

    def wake(self, slot: int) -> None:
        """Ring one slot. The lock is not taken: a signal handler may interrupt its owner."""
        bell = self._bells.get(slot)
        if bell is not None:
            bell.put(None)

    def close(self) -> None:
        """Do nothing: all ends with the object."""

    def _release_left(self) -> None:
        while self._left:
            self.release(self._left.popleft())


class _LockFile:
    """The file of kernel locks, opened once per process: closing any descriptor of it drops all."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._own: set[int] = set()
        self.users = 0

    def close(self) -> None:
        os.close(self._descriptor)

    def take(self, slot: int) -> bool:
        # POSIX locks do not conflict inside one process, so its own are looked up in memory
        with self._lock:
            if slot in self._own:
                return False
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                raise
            self._own.add(slot)
            return True

    def give(self, slot: int) -> None:
        with self._lock:
            if slot in self._own:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, slot)
                self._own.discard(slot)


_lock_files: dict[tuple[int, int], _LockFile] = {}
_lock_files_lock = threading.Lock()
_unused: deque[_LockFile] = deque()
"""Lock files that lost a user, to be closed at a better moment than the collector's."""


def _lock_file(path: Path) -> _LockFile:
    with _lock_files_lock:
        _close_unused()
        path.touch(mode=0o600)
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in _lock_files:
            _lock_files[key] = _LockFile(path)
        _lock_files[key].users += 1
        return _lock_files[key]


def _close_unused() -> None:
    """Close the files that nobody in this process uses any more."""
    while _unused:
        _unused.popleft().users -= 1
    for key, file in list(_lock_files.items()):
        if file.users == 0:
            del _lock_files[key]
            file.close()


_presences: weakref.WeakSet[FilePresence] = weakref.WeakSet()


def _after_fork() -> None:
    for presence in list(_presences):
        presence.forget_parent()
    # the child owns none of its parent's locks; the inherited descriptors stay open, unused
    global _lock_files_lock  # noqa: PLW0603 - a lock that a thread of the parent held is of no use
    _lock_files_lock = threading.Lock()
    _lock_files.clear()
    _unused.clear()


os.register_at_fork(after_in_child=_after_fork)


class FilePresence:
    """Presence among all processes of a machine that use one folder; opened at first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._left: deque[int] = deque()
        self._pid = 0
        _presences.add(self)
        self._locks: _LockFile
        self._waiting: mmap.mmap
        self._pipes: dict[int, int]

    def acquire(self) -> int:
        """Take the lowest free slot."""
        self._open()
        self._release_left()
        for slot in range(1, SLOTS):
            if self._locks.take(slot):
                self._pipes[slot] = self._pipe(slot)
                self._waiting[slot] = 0
                return slot
        raise _no_place(str(self._folder))

    def close(self) -> None:
        """Give up everything; a later use opens it again."""
        with self._lock:
            if self._pid != os.getpid():
                return
            self._pid = 0
            for pipe in self._pipes.values():
                os.close(pipe)
            self._pipes = {}
            self._waiting.close()
            _unused.append(self._locks)
            with _lock_files_lock:
                _close_unused()

    def __del__(self) -> None:
        """Leave the lock file to be closed, without taking a lock: this may be the collector."""
        if self._pid == os.getpid():
            for pipe in self._pipes.values():
                os.close(pipe)
            _unused.append(self._locks)

    def release(self, slot: int) -> None:
        """Give up a slot."""
        if self._pid != os.getpid():
            return
        pipe = self._pipes.pop(slot, None)
        if pipe is not None:
            self._waiting[slot] = 0
            os.close(pipe)
        self._locks.give(slot)

    def release_later(self, slot: int) -> None:
        """Release a slot at the next call of another method; takes no lock."""
        self._left.append(slot)

    def seize(self, slot: int) -> bool:
        """Take the slot of a holder that died; False while it lives."""
        self._open()
        self._release_left()
        return self._locks.take(slot)

    def show(self, slot: int, waits_for: WaitsFor) -> None:
        """Say for which queues (or `RESULTS`) the slot waits; () for nothing any more."""
        if waits_for:
            listed = waits_for if len(waits_for) <= LISTED else (_ANY,)
            padded = (*listed, *[0] * (LISTED - len(listed)))
            _LIST.pack_into(self._waiting, SLOTS + slot * _LIST.size, *padded)
        self._waiting[slot] = bool(waits_for)

    def wait(self, slot: int, seconds: float) -> None:
        """Block until the slot is rung or the time is up."""
        pipe = self._pipes[slot]
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        if poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(pipe, 4096)

    def ring(self, what: int, count: int) -> None:
        """Wake up to `count` of those who wait for a queue (or `RESULTS`)."""
        try:
            if self._pid != os.getpid():
                self._open()
            shown = self._waiting[:SLOTS]
            if shown != _NOBODY:
                self._ring_shown(shown.rstrip(b"\0"), what, count)
        except (OSError, BackendUnavailableError) as error:
            # what is rung for is safe already, so this must not look like a failure of it
            get_logger("jobs.local").warning("Waiting consumers could not be woken: %s", error)

    def _ring_shown(self, shown: bytes, what: int, count: int) -> None:
        for slot, waits in enumerate(shown):
            if not waits:
                continue
            listed = _LIST.unpack_from(self._waiting, SLOTS + slot * _LIST.size)
            if what in listed:
                self._waiting[slot] = 0
                count -= self._write(slot)
                if count <= 0:
                    return
            elif _ANY in listed and what != RESULTS:
                # it may not wait for this one, so it does not count
                self._waiting[slot] = 0
                self._write(slot)

    def wake(self, slot: int) -> None:
        """Ring one slot of this process."""
        pipe = self._pipes.get(slot)
        if pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(pipe, b"\0")

    def _release_left(self) -> None:
        while self._left:
            self.release(self._left.popleft())

    def forget_parent(self) -> None:
        """Called in a forked child: nothing that was opened is this process's own."""
        self._lock = threading.Lock()
        self._left.clear()
        self._pid = 0

    def _open(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            try:
                self._locks = _lock_file(self._folder / "holders.lock")
                self._waiting = _shared_bytes(self._folder / "waiting")
                (self._folder / "wake").mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise self._unavailable(error) from error
            self._pipes = {}
            self._pid = os.getpid()

    def _pipe(self, slot: int) -> int:
        path = self._folder / "wake" / str(slot)
        try:
            if not (path.exists() and stat.S_ISFIFO(path.stat().st_mode)):
                path.unlink(missing_ok=True)
                os.mkfifo(path, 0o600)
            # opened for both: it never reports an end of file when the last writer goes
            pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._locks.give(slot)
            raise self._unavailable(error) from error
        with contextlib.suppress(BlockingIOError):
            os.read(pipe, 4096)  # rings meant for the one who had the slot before
        return pipe

    def _write(self, slot: int) -> int:
        """Ring a slot and return 1, or 0 when nobody listens there (any more)."""
        try:
            pipe = os.open(self._folder / "wake" / str(slot), os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return 0
            raise
        try:
            os.write(pipe, b"\0")
        except (BlockingIOError, BrokenPipeError):
            return 0  # a full pipe wakes its reader all the same; a broken one has none
        finally:
            os.close(pipe)
        return 1

    def _unavailable(self, error: OSError) -> BackendUnavailableError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
        reason = f"{error.strerror} ({error.filename or self._folder})"
        return BackendUnavailableError("local", str(self._folder), reason, transient=full)


def _shared_bytes(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # two that create it would undo each other's marks
        if os.fstat(descriptor).st_size < _SIZE:
            # written in full: a page that only exists on paper ends the process on a full disk
            os.pwrite(descriptor, bytes(_SIZE), 0)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # the map keeps a copy of the descriptor
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)
