"""`SqliteState`: the state of an embedded cluster, a file beside its queues."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindtrace.cluster.errors import StateUnavailableError
from mindtrace.cluster.folders import locked
from mindtrace.cluster.ports.state import Indexed

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_SCHEMA = """
create table if not exists documents (
  kind text not null, key text not null, document text not null, primary key (kind, key)
) strict, without rowid;
create table if not exists jobs (
  number integer primary key autoincrement, id text not null unique, schema_name text not null,
  submitted_at real not null
) strict;
create index if not exists jobs_of_schema on jobs (schema_name, number);
create index if not exists jobs_by_time on jobs (submitted_at);
"""

BUSY = 30.0
"""Seconds to wait for another process that writes."""


class SqliteState:
    """Documents in a SQLite file; see `StateStore`."""

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / "state.sqlite"
        self.address = str(self._path)
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def put(self, kind: str, key: str, document: dict[str, Any]) -> None:
        """Write a document, in place of an earlier one."""
        with self._transaction() as c:
            c.execute(
                "insert or replace into documents values (?, ?, ?)",
                (kind, key, json.dumps(document)),
            )

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a document, or None."""
        with self._transaction(writes=False) as c:
            found = c.execute(
                "select document from documents where kind = ? and key = ?", (kind, key)
            ).fetchone()
        return None if found is None else json.loads(found[0])

    def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return those documents of a kind that are there, by key."""
        with self._transaction(writes=False) as c:
            found = c.execute(
                """
                select d.key, d.document from json_each(:keys) k
                join documents d on d.kind = :kind and d.key = k.value
                """,
                {"kind": kind, "keys": json.dumps(list(keys))},
            ).fetchall()
        return {key: json.loads(document) for key, document in found}

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the documents of a kind by key."""
        with self._transaction(writes=False) as c:
            found = c.execute(
                "select key, document from documents where kind = ? order by key", (kind,)
            ).fetchall()
        return {key: json.loads(document) for key, document in found}

    def remove(self, kind: str, key: str) -> bool:
        """Remove a document; tell whether there was one."""
        with self._transaction() as c:
            done = c.execute("delete from documents where kind = ? and key = ?", (kind, key))
            return done.rowcount > 0

    def clear(self, kind: str) -> None:
        """Remove the documents of a kind."""
        with self._transaction() as c:
            c.execute("delete from documents where kind = ?", (kind,))

    def index(self, jobs: Sequence[tuple[str, str]], now: float) -> None:
        """Add jobs to the end of the index; one that is there keeps its place."""
        with self._transaction() as c:
            c.executemany(
                """
                insert into jobs (id, schema_name, submitted_at) values (?, ?, ?)
                on conflict (id) do update set submitted_at = excluded.submitted_at
                """,
                [(job_id, name, now) for job_id, name in jobs],
            )

    def indexed(self, after: int, limit: int, schema_name: str | None = None) -> list[Indexed]:
        """Return up to `limit` jobs behind a number, in the order of their places."""
        with self._transaction(writes=False) as c:
            found = c.execute(
                """
                select number, id, schema_name, submitted_at from jobs
                where number > :after and (:name is null or schema_name = :name)
                order by number limit :limit
                """,
                {"after": after, "name": schema_name, "limit": limit},
            ).fetchall()
        return list(map(Indexed._make, found))

    def number_of(self, job_id: str) -> int | None:
        """Return the number of a job in the index, or None."""
        with self._transaction(writes=False) as c:
            found = c.execute("select number from jobs where id = ?", (job_id,)).fetchone()
        return None if found is None else int(found[0])

    def forget(self, job_ids: Sequence[str], before: float) -> int:
        """Remove those of these jobs from the index that were submitted before a time."""
        with self._transaction() as c:
            done = c.executemany(
                "delete from jobs where id = ? and submitted_at < ?",
                [(job_id, before) for job_id in job_ids],
            )
            return done.rowcount

    def clear_index(self) -> None:
        """Remove all jobs from the index."""
        with self._transaction() as c:
            c.execute("delete from jobs")

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _transaction(self, *, writes: bool = True) -> Generator[sqlite3.Connection]:
        with self._mutex:
            try:
                c = self._connection or self._open()
                c.execute("begin immediate" if writes else "begin")
                try:
                    yield c
                    c.execute("commit")
                finally:
                    if c.in_transaction:  # a commit may fail as well
                        c.execute("rollback")
            except (sqlite3.Error, OSError) as error:
                raise StateUnavailableError(self.address, _reason(error)) from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # one at a time: SQLite lets nobody wait who makes the file one with a log
        with locked(self._path.with_name("state.lock")):
            c = sqlite3.connect(
                self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                c.execute("pragma journal_mode = wal")
                c.execute("pragma synchronous = normal")
                c.executescript(_SCHEMA)
            except BaseException:
                c.close()
                raise
        self._connection = c
        return c


def _reason(error: Exception) -> str:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return "the disk is full; free some space"
    return str(error)
