"""What all floors share: the loops around one insert, and around claims of 50."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from time import perf_counter
from typing import Any, ClassVar

from tools.benchmarks.contestants import FILL_AT_ONCE

ROWS = 100
"""Jobs in one transaction or pipeline when many are published."""

CLAIM = 50
"""Jobs in one claim, and in one settling."""


class Floor(ABC):
    """A queue made of nothing but a store's own library.

    Attributes:
        waits: whether `take` waits at the store for a job; else it finds one that is there.
        leaves_work: whether `insert_many` may return before the store has all; `wait_for` waits.
    """

    name: str
    waits: ClassVar[bool] = True
    leaves_work: ClassVar[bool] = False

    def __init__(self) -> None:
        self._texts: list[str] = []

    @abstractmethod
    def insert(self, body: str) -> None:
        """Add one job; it is safe afterwards."""

    @abstractmethod
    def insert_many(self, bodies: Sequence[str]) -> None:
        """Add up to 100 jobs at once."""

    def wait_for(self, count: int) -> None:
        """Wait until the store has so many jobs."""
        raise NotImplementedError

    def fill_many(self, bodies: Sequence[str]) -> None:
        """Add up to 100 jobs that `consume` can take."""
        self.insert_many(bodies)

    @abstractmethod
    def consume(self, count: int) -> float:
        """Take, decode and settle jobs."""

    @abstractmethod
    def take(self, started: Callable[[Any], None]) -> None:
        """Take one job, decode it, tell that it started, and settle it."""

    @abstractmethod
    def empty(self) -> None:
        """Delete what is left over."""

    @abstractmethod
    def close(self) -> None:
        """Close the file or the connection."""

    def publish(self, count: int) -> float:
        """Add jobs one by one."""
        insert, bodies = self.insert, self._bodies(count)
        began = perf_counter()
        for body in bodies:
            insert(body)
        return perf_counter() - began

    def publish_many(self, count: int) -> float:
        """Add jobs, 100 at once."""
        bodies = iter(self._bodies(count))
        began = perf_counter()
        while some := list(islice(bodies, ROWS)):
            self.insert_many(some)
        return perf_counter() - began

    def fill(self, count: int) -> None:
        """Add jobs that `consume` can take, 100 at once."""
        bodies = iter(self._bodies(count))
        while some := list(islice(bodies, ROWS)):
            self.fill_many(some)

    def _bodies(self, count: int) -> list[str]:
        if not self._texts:
            # only here: a process that consumes shall not load what the floor does not need
            from tools.benchmarks.payload import texts  # noqa: PLC0415

            self._texts = texts(FILL_AT_ONCE)
        bodies: Iterator[str] = cycle(self._texts)
        return list(islice(bodies, count))


class ClaimingFloor(Floor):
    """A floor whose jobs are claimed and settled 50 at a time."""

    @abstractmethod
    def claim(self, limit: int) -> list[tuple[Any, Any]]:
        """Claim up to `limit` jobs; return the number of each and its body, decoded."""

    @abstractmethod
    def settle(self, claimed: list[tuple[Any, Any]]) -> None:
        """Delete what was claimed."""

    def consume(self, count: int) -> float:
        """Claim and settle jobs, 50 at a time."""
        began = perf_counter()
        while count > 0:
            claimed = self.claim(min(CLAIM, count))
            if not claimed:
                message = f"{count} jobs too few in the floor's queue"
                raise RuntimeError(message)
            self.settle(claimed)
            count -= len(claimed)
        return perf_counter() - began
