"""The local backend beside plain `sqlite3`."""

import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from mindtrace.jobs import LocalClient
from tools.benchmarks.floors.sqlite import SqliteFloor
from tools.benchmarks.local_peers import local_peers
from tools.benchmarks.machine import filesystem
from tools.benchmarks.ours import Ours
from tools.benchmarks.stage import Bars, Pair, Peers, Stage

AT_FULL = 5
"""With an fsync at each commit, turns of single publishes are shorter by this."""

NOTE = """\
Peers are given a dict and write it their own way (huey: as a call of a task; its storage alone: as
JSON); litequeue and persist-queue acknowledge, huey deletes a job when it is taken."""


class LocalStage(Stage):
    """Files in a new folder of the file system that was chosen."""

    name = "local"
    bars = Bars(
        publish=0.6,
        publish_many=0.25,
        consume=0.35,
        p50=5.0,
        p99=20.0,
        takeover=2.0,
        peers_publish=1.0,
        peers_consume=2.0,
        depth=0.8,
        memory=45.0,
        growth=10.0,
    )
    measures = (
        *("publish", "publish_many", "consume", "peers", "depth"),
        *("latency", "idle", "memory", "takeover", "import"),
    )

    @property
    def note(self) -> str:
        """How the peers are fed, and whether they acknowledge."""
        return NOTE

    @property
    def one_by_one(self) -> int:
        """How many single publishes make a turn."""
        settings = self.settings
        return settings.count // (AT_FULL if settings.synchronous == "full" else 1)

    def facts(self) -> dict[str, str | int | float]:
        """Return SQLite's version and what its files are on."""
        return {
            "sqlite": sqlite3.sqlite_version,
            "filesystem": filesystem(self.settings.folder),
            "synchronous": self.settings.synchronous,
        }

    @contextmanager
    def both(self, queue_type: str | None = None, **options: Any) -> Generator[Pair]:
        """Open both in a new folder."""
        level = self.settings.synchronous
        with self.settings.new_folder() as folder:
            place = {"folder": str(folder), "synchronous": level}
            client = LocalClient(folder, durability=level)
            with (
                closing(Ours(client, queue_type, **options)) as ours,
                closing(SqliteFloor(**place)) as floor,
            ):
                yield Pair(ours, floor, client.consumer_backend_args, {"kind": self.name, **place})

    def peers(self, stack: ExitStack) -> Peers:
        """Open other queues on SQLite."""
        return local_peers(self.settings, stack)

    @property
    def peer_count(self) -> int:
        """How many jobs make a turn with peers."""
        return self.one_by_one

    @property
    def peer_rounds(self) -> int:
        """How many turns each peer has."""
        return self.settings.rounds
