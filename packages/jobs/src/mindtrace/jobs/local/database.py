"""One SQLite database: transactions, forks, and the translation of SQLite's errors.

Nothing here knows what a job is.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs.local.opening import BUSY_SECONDS, FILE_NAME, opened

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from mindtrace.jobs.local.opening import Durability

SPARE_BYTES = 64 * 1024
"""Less free space than this is a full disk: SQLite's shared memory grows by 32 KiB."""

# What SQLite says, and what a person can do about it. `True`: trying again may help.
_ADVICE: dict[int, tuple[str, bool]] = {
    sqlite3.SQLITE_FULL: ("the disk is full; free some space, nothing was changed", True),
    sqlite3.SQLITE_IOERR: ("reading or writing the file failed; check the disk", True),
    sqlite3.SQLITE_BUSY: ("another process has kept it locked for a minute", True),
    sqlite3.SQLITE_LOCKED: ("another process has kept it locked for a minute", True),
    sqlite3.SQLITE_READONLY: ("the folder or file is read-only; make it writable", False),
    sqlite3.SQLITE_PERM: ("permission is denied; check the owner of the folder", False),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened; check folder and permissions", False),
    sqlite3.SQLITE_NOTADB: ("it is not a SQLite database; move the file away or restore it", False),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged; move it away and recover what is left (sqlite3 shell: .recover)",
        False,
    ),
}


class Database:
    """A database file (or, without a path, one in memory), opened at first use.

    One connection, guarded by `lock`; thread-safe. It is closed before a fork, and each side opens
    its own. A second database on the same file is a second connection.
    """

    def __init__(self, folder: Path | None, durability: Durability) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME if folder else None
        self.address = str(self.path or "memory")
        self.lock = threading.RLock()
        self._durability: Durability = durability
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        _databases.add(self)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; only to be used while holding `lock`."""
        return self._connection or self._open()

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Run the block as one write transaction: all of it is safe afterwards, or none."""
        with self.lock, self.translating():
            connection = self._connection or self._open()
            try:
                # inside, for a signal may come between its end and the next line
                connection.execute("begin immediate")
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Run the block on one consistent view of the database."""
        with self.lock, self.translating():
            connection = self._connection or self._open()
            try:
                connection.execute("begin")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("rollback")

    @contextmanager
    def translating(self) -> Generator[None]:
        """Turn SQLite's errors into ours, at the only place that sees them."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.translated(error) from error

    def translated(self, error: sqlite3.Error) -> BackendUnavailableError:
        """Return our error for one of SQLite's."""
        # the low byte of an extended code is the primary one
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_IOERR and self._is_full():
            code = sqlite3.SQLITE_FULL  # what SQLite says when its shared memory cannot grow
        reason, transient = _ADVICE.get(code, (f"SQLite says: {error}", False))
        return BackendUnavailableError("local", self.address, reason, transient=transient)

    def _is_full(self) -> bool:
        try:
            return self.folder is not None and shutil.disk_usage(self.folder).free < SPARE_BYTES
        except OSError:
            return False  # the folder is gone; that is not for want of space

    def ensure_open(self) -> None:
        """Open the database now, so that a fault of it is told before anything else happens."""
        with self.lock:
            _ = self.connection

    def part(self) -> None:
        """Close the connection for now, unless a transaction is open; the next use reopens it."""
        if self._connection is not None and not self._connection.in_transaction:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection; a later use is an error."""
        with self.lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            reason = "this client was closed; make a new one"
            raise BackendUnavailableError("local", self.address, reason, transient=False)
        with self.translating():
            self._connection = opened(self.folder, self._durability, self.address)
        return self._connection


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_parted: list[Database] = []


def _before_fork() -> None:
    """Close what is open: SQLite in a child would believe in locks that a fork does not inherit."""
    for database in list(_databases):
        if database.folder is not None and database.lock.acquire(timeout=BUSY_SECONDS):
            _parted.append(database)
            database.part()


def _after_fork_in_parent() -> None:
    while _parted:
        _parted.pop().lock.release()


def _after_fork_in_child() -> None:
    _parted.clear()
    for database in list(_databases):
        database.lock = threading.RLock()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
