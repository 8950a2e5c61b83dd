"""The floor of the local backend: plain `sqlite3`.

A table with one integer primary key and one partial index over the ready rows. Publishing is one
INSERT and one commit; consuming is `UPDATE ... RETURNING` of 50, commit, `DELETE` of 50, commit,
with each body decoded.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.benchmarks.floors.base import ClaimingFloor

_SCHEMA = """
create table if not exists jobs (
  id integer primary key autoincrement, ready integer not null default 1, body text not null
);
create index if not exists ready on jobs (id) where ready = 1;
"""
_INSERT = "insert into jobs (body) values (?)"
_CLAIM = """
update jobs set ready = 0
where id in (select id from jobs where ready = 1 order by id limit ?)
returning id, body
"""
_DELETE = "delete from jobs where id = ?"


class SqliteFloor(ClaimingFloor):
    """Plain `sqlite3` in WAL mode, every other setting as SQLite has it."""

    name = "raw sqlite3"
    waits = False

    def __init__(self, folder: str, synchronous: str) -> None:
        super().__init__()
        self.connection = sqlite3.connect(
            Path(folder) / "floor.db", isolation_level=None, timeout=60
        )
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute(f"pragma synchronous = {synchronous}")
        self.connection.executescript(_SCHEMA)

    def insert(self, body: str) -> None:
        """Insert one row."""
        self.connection.execute(_INSERT, (body,))

    def insert_many(self, bodies: Sequence[str]) -> None:
        """Insert rows in one transaction."""
        connection = self.connection
        connection.execute("begin immediate")
        connection.executemany(_INSERT, [(body,) for body in bodies])
        connection.execute("commit")

    def take(self, started: Callable[[Any], None]) -> None:
        """Claim one row, tell, and delete it."""
        claimed = self.claim(1)
        started(claimed[0][1])
        self.settle(claimed)

    def claim(self, limit: int) -> list[tuple[int, Any]]:
        """Claim up to `limit` rows; return the number of each and its body, decoded."""
        self.connection.execute("begin immediate")
        rows = self.connection.execute(_CLAIM, (limit,)).fetchall()
        self.connection.execute("commit")
        return [(number, json.loads(body)) for number, body in rows]

    def settle(self, claimed: list[tuple[int, Any]]) -> None:
        """Delete what was claimed."""
        self.connection.execute("begin immediate")
        self.connection.executemany(_DELETE, [(number,) for number, _ in claimed])
        self.connection.execute("commit")

    def empty(self) -> None:
        """Delete what is left over."""
        self.connection.execute("delete from jobs")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
