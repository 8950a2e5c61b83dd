"""How much to measure, and where."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Synchronous = Literal["normal", "full"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The sizes of one run; the defaults are those of the bar.

    Attributes:
        folder: where temporary folders are made; None for the system's place.
        synchronous: SQLite's level, the same for everybody.
        rounds: turns of each contestant; one more goes first, uncounted.
        count: jobs in one turn of publishing one by one.
        many: jobs in one turn of publishing many, and of consuming.
        depths: jobs that wait already, in the shallow and in the deep queue.
        queue_types: the queues whose depth is tried.
        samples: jobs whose latency is taken.
        idle_seconds: how long an idle consumer is watched.
        settled: jobs after which a consumer's memory is first looked at.
        lasting: jobs after which it is looked at again.
        takeovers: holders that are killed.
        imports: interpreters that are started.
        starts: clusters that are started.
        managed: jobs after which a manager's memory is looked at again.
        flood: bytes that a command writes.
        peers: whether other libraries take part.
    """

    folder: Path | None = None
    synchronous: Synchronous = "normal"
    rounds: int = 15
    count: int = 2000
    many: int = 10_000
    depths: tuple[int, int] = (1000, 1_000_000)
    queue_types: tuple[str, ...] = ("fifo",)
    samples: int = 300
    idle_seconds: float = 10.0
    settled: int = 1000
    lasting: int = 200_000
    takeovers: int = 5
    imports: int = 10
    starts: int = 5
    managed: int = 50_000
    flood: int = 1_000_000_000
    peers: bool = True

    def quick(self) -> "Settings":
        """Return sizes that tell nothing but that everything works."""
        return replace(
            self,
            rounds=2,
            count=20,
            many=100,
            depths=(10, 100),
            samples=5,
            idle_seconds=0.3,
            settled=10,
            lasting=100,
            takeovers=1,
            imports=1,
            starts=1,
            managed=50,
            flood=10_000_000,
        )

    @contextmanager
    def new_folder(self) -> Generator[Path]:
        """Lend an empty folder, on the same file system for everybody."""
        with tempfile.TemporaryDirectory(prefix="mindtrace-bench-", dir=self.folder) as name:
            yield Path(name)


class SkippedError(Exception):
    """A measure cannot be taken here; the text says why."""
