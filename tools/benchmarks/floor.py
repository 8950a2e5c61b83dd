"""The floor: what plain `sqlite3` does for the same work, with nothing around it.

A table with one integer primary key and one partial index over the ready rows. Publishing is one
INSERT and one commit; consuming is `UPDATE ... RETURNING` of 50, commit, `DELETE` of 50, commit,
with each body decoded.
"""

import json
import sqlite3
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tools.benchmarks.contestants import FILL_AT_ONCE
from tools.benchmarks.settings import Synchronous

if TYPE_CHECKING:
    from collections.abc import Iterator

CLAIM = 50
"""Rows in one claim, and in one delete."""

ROWS = 100
"""Rows in one transaction when many are published."""

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


class Floor:
    """Plain `sqlite3` in WAL mode, every other setting as SQLite has it."""

    name = "raw sqlite3"

    def __init__(self, folder: Path, synchronous: Synchronous) -> None:
        self.connection = sqlite3.connect(folder / "floor.db", isolation_level=None, timeout=60)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute(f"pragma synchronous = {synchronous}")
        self.connection.executescript(_SCHEMA)
        self._texts: list[str] = []

    def insert(self, body: str) -> None:
        """Insert one row."""
        self.connection.execute(_INSERT, (body,))

    def publish(self, count: int) -> float:
        """Insert rows, each in a transaction of its own."""
        execute, bodies = self.connection.execute, self._bodies(count)
        began = perf_counter()
        for body in bodies:
            execute(_INSERT, (body,))
        return perf_counter() - began

    def publish_many(self, count: int) -> float:
        """Insert rows, 100 in a transaction."""
        bodies = iter(self._bodies(count))
        connection = self.connection
        began = perf_counter()
        while rows := [(body,) for body in islice(bodies, ROWS)]:
            connection.execute("begin immediate")
            connection.executemany(_INSERT, rows)
            connection.execute("commit")
        return perf_counter() - began

    def consume(self, count: int) -> float:
        """Claim and delete rows, 50 in a transaction."""
        began = perf_counter()
        while count > 0:
            claimed = self.claim(min(CLAIM, count))
            if not claimed:
                message = f"{count} rows too few in the floor's table"
                raise RuntimeError(message)
            self.delete(claimed)
            count -= len(claimed)
        return perf_counter() - began

    def claim(self, limit: int) -> list[tuple[int, Any]]:
        """Claim up to `limit` rows; return the number of each and its body, decoded."""
        self.connection.execute("begin immediate")
        rows = self.connection.execute(_CLAIM, (limit,)).fetchall()
        self.connection.execute("commit")
        return [(number, json.loads(body)) for number, body in rows]

    def delete(self, claimed: list[tuple[int, Any]]) -> None:
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

    def _bodies(self, count: int) -> list[str]:
        if not self._texts:
            # only here: a process that consumes shall not load what the floor does not need
            from tools.benchmarks.payload import texts  # noqa: PLC0415

            self._texts = texts(FILL_AT_ONCE)
        bodies: Iterator[str] = cycle(self._texts)
        return list(islice(bodies, count))
