"""Opening the database file: whose it is, of which version, and with which settings.

A file that is not ours, or newer than this release, is left as it was found.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from importlib import resources
from typing import TYPE_CHECKING, Literal

from mindtrace.jobs.errors import BackendUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

Durability = Literal["normal", "full"]

FILE_NAME = "jobs.db"
APPLICATION_ID = 0x6D744A31
"""Tells our files from those of other programs ("mtJ1"); SQLite keeps it in the header."""

SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0

# A commit writes each page that it touched to the log as a whole: small pages make a publish a
# fifth cheaper, smaller ones still make a claim dearer (measured with 1, 2, 4 and 8 KiB).
PAGE_SIZE = 2048

# A checkpoint copies the log back into the file; every 8000 pages (16 MiB) is often enough to keep
# the log small and seldom enough not to be felt.
CHECKPOINT_PAGES = 8000


def opened(folder: Path | None, durability: Durability, address: str) -> sqlite3.Connection:
    """Return a connection to the database of a folder (None: in memory), made if it is missing.

    Raises:
        BackendUnavailableError: the folder or the file cannot be used; sqlite3 errors pass.
    """
    if folder is None:
        return _ready(_connected(":memory:"), durability, address)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # several processes that create the file at once would meet "locked" without this
        lock = os.open(folder / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _make_private(folder / FILE_NAME)
            return _ready(_connected(str(folder / FILE_NAME)), durability, address)
        finally:
            # said explicitly: a child that was forked meanwhile would keep it locked
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)
    except BackendUnavailableError:
        raise
    except OSError as error:
        raise _refused(folder, address, error) from error


def _make_private(path: Path) -> None:
    """Make the file for this user alone, if it is missing.

    One that exists is not so much as opened: closing any descriptor of it would drop the locks that
    SQLite holds on it in this process, and another process could delete the log under it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return


def _refused(folder: Path, address: str, error: OSError) -> BackendUnavailableError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    where = f"{error.strerror or error} ({error.filename or folder})"
    if full:
        reason = f"{where}; free some space"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason = f"{error.filename or folder} is a file, not a folder; choose another folder"
    else:
        reason = f"{where}; check that the folder exists and is writable"
    return BackendUnavailableError("local", address, reason, transient=full)


def _connected(path: str) -> sqlite3.Connection:
    return sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )


def _ready(
    connection: sqlite3.Connection, durability: Durability, address: str
) -> sqlite3.Connection:
    """Check, create and set up; nothing is changed before it is known to be ours."""
    try:
        is_new = _is_new(connection, address)
        # page_size and journal_mode belong to the file, the rest to each connection
        connection.execute(f"pragma page_size = {PAGE_SIZE}")
        connection.execute("pragma journal_mode = wal")
        # macOS alone tells a flush to the drive from one to the disk; elsewhere it changes nothing
        connection.execute(f"pragma fullfsync = {int(durability == 'full')}")
        connection.execute(f"pragma synchronous = {durability}")
        connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if is_new:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection, address: str) -> bool:
    """Tell a file without anything in it from one of ours, and refuse all others."""
    (version,) = connection.execute("pragma user_version").fetchone()
    (application,) = connection.execute("pragma application_id").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_schema").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        reason = "the file belongs to another program; choose another folder"
        raise BackendUnavailableError("local", address, reason, transient=False)
    if version > SCHEMA_VERSION:
        reason = (
            f"it was written by a newer release (schema {version}, this one knows up to "
            f"{SCHEMA_VERSION}); upgrade mindtrace-jobs"
        )
        raise BackendUnavailableError("local", address, reason, transient=False)
    return False


def _create(connection: sqlite3.Connection) -> None:
    schema = resources.files("mindtrace.jobs.local").joinpath("schema.sql").read_text("utf-8")
    marks = f"pragma application_id = {APPLICATION_ID}; pragma user_version = {SCHEMA_VERSION};"
    try:
        connection.executescript(f"begin immediate;\n{schema}\n{marks}\ncommit;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
