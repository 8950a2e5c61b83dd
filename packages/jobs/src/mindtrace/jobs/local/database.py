"""One SQLite database: opening, transactions, and the translation of SQLite's errors.

Nothing here knows what a job is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import threading
import weakref
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Literal

from mindtrace.jobs.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

Durability = Literal["normal", "full"]

SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0
FILE_NAME = "jobs.db"
SPARE_BYTES = 64 * 1024
"""Less free space than this is a full disk: SQLite's shared memory grows by 32 KiB."""

# A commit writes each page that it touched to the log as a whole: small pages make a publish a
# fifth cheaper, smaller ones still make a claim dearer (measured with 1, 2, 4 and 8 KiB).
PAGE_SIZE = 2048

# A checkpoint copies the log back into the file; every 8000 pages (16 MiB) is often enough to keep
# the log small and seldom enough not to be felt.
CHECKPOINT_PAGES = 8000

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

    One connection, guarded by `lock`; thread-safe. A forked child opens its own connection and
    leaves its parent's alone. A second database on the same file is a second connection.
    """

    def __init__(self, folder: Path | None, durability: Durability) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME if folder else None
        self.address = str(self.path or "memory")
        self.lock = threading.RLock()
        self._durability: Durability = durability
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        _forget_after_fork(self)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; only to be used while holding `lock`."""
        return self._connection or self._open()

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Run the block as one write transaction: all of it is safe afterwards, or none."""
        with self.lock, self.translating():
            connection = self._connection or self._open()
            connection.execute("begin immediate")
            try:
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
            connection.execute("begin")
            try:
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
        return self.folder is not None and shutil.disk_usage(self.folder).free < SPARE_BYTES

    def ensure_open(self) -> None:
        """Open the database now, so that a fault of it is told before anything else happens."""
        with self.lock:
            _ = self.connection

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
            if self.folder is None:
                connection = _connect(":memory:", self._durability)
                _migrate(connection, self.address)
            else:
                connection = self._open_file(self.folder)
        self._connection = connection
        return connection

    def _open_file(self, folder: Path) -> sqlite3.Connection:
        """Open under a lock file: several processes that create the file meet "locked" else."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                existing = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                os.close(existing)
                connection = _connect(str(folder / FILE_NAME), self._durability)
                try:
                    _migrate(connection, self.address)
                except BaseException:
                    connection.close()
                    raise
                return connection
            finally:
                os.close(lock)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = f"{error.strerror or error} ({error.filename or folder})"
            advice = "free some space" if full else "check that the folder exists and is writable"
            raise BackendUnavailableError(
                "local", self.address, f"{reason}; {advice}", transient=full
            ) from error


def _connect(path: str, durability: Durability) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    # page_size and journal_mode belong to the file, the rest to each connection
    connection.execute(f"pragma page_size = {PAGE_SIZE}")
    connection.execute("pragma journal_mode = wal")
    # macOS alone tells a flush to the drive from one to the disk; elsewhere this changes nothing
    connection.execute(f"pragma fullfsync = {int(durability == 'full')}")
    connection.execute(f"pragma synchronous = {'full' if durability == 'full' else 'normal'}")
    connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return connection


def _migrate(connection: sqlite3.Connection, address: str) -> None:
    (version,) = connection.execute("pragma user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        reason = (
            f"it was written by a newer release (schema {version}, this one knows up to "
            f"{SCHEMA_VERSION}); upgrade mindtrace-jobs"
        )
        raise BackendUnavailableError("local", address, reason, transient=False)
    if connection.execute("select 1 from sqlite_schema where name = 'jobs'").fetchone():
        reason = "the file belongs to another program; choose another folder"
        raise BackendUnavailableError("local", address, reason, transient=False)
    schema = resources.files("mindtrace.jobs.local").joinpath("schema.sql").read_text("utf-8")
    script = f"begin immediate;\n{schema}\npragma user_version = {SCHEMA_VERSION};\ncommit;"
    try:
        connection.executescript(script)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []
"""Connections of the parent, kept for ever in a child: closing one there would touch its files."""


def _forget_after_fork(database: Database) -> None:
    _databases.add(database)


def _after_fork() -> None:
    for database in list(_databases):
        database.lock = threading.RLock()
        connection = database._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if connection is not None and database.folder is not None:
            _inherited.append(connection)
            database._connection = None  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)
