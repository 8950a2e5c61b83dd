"""How many jobs a consumer holds, and how many it may still handle."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOLD_SECONDS = 0.1
"""A consumer holds no more jobs than it would run in about this time."""

HOLD_CHARACTERS = 4 * 1024 * 1024
"""Nor more than have about this much text together, going by the jobs before."""

MOST = 256
"""Jobs held at most: more gain nothing, for the cost of a transaction is spread thin by then."""


class Window:
    """The number of jobs to ask for, following the measured run time; or a fixed one."""

    def __init__(self, fixed: int | None) -> None:
        if fixed is not None and fixed < 1:
            message = f"prefetch is at least 1, not {fixed!r}"
            raise ValueError(message)
        self.fixed = fixed
        self._mean: float | None = None
        self._size = 0.0

    @property
    def limit(self) -> int:
        """How many jobs to ask for next. The first travels alone."""
        if self.fixed is not None:
            return self.fixed
        if self._mean is None:
            return 1
        by_time = HOLD_SECONDS / max(self._mean, 1e-9)
        return max(1, int(min(MOST, by_time, HOLD_CHARACTERS / max(self._size, 1.0))))

    def ran(self, seconds: float, count: int, size: float = 0.0) -> None:
        """Take note that `count` jobs took so long together, of so many characters each."""
        self._size = max(size, self._size / 2)
        if count:
            mean = seconds / count
            self._mean = mean if self._mean is None else (self._mean + mean) / 2


class Quota:
    """How many deliveries may still be handled by all the threads of one `consume`."""

    def __init__(self, total: int | None) -> None:
        self._left = total or None
        self._out = 0
        self._changed = threading.Condition()
        self.handled = 0

    def take(
        self,
        wanted: int,
        stopping: Callable[[], bool],
        relieve: Callable[[], object] | None = None,
    ) -> int:
        """Reserve up to `wanted`; 0 when none are left. Waits for what others may give back.

        Before it waits, it calls `relieve`: the others may be waiting for jobs that are held here.
        """
        if self._left is None:
            return wanted
        if relieve is not None and self._left == 0 and self._out > 0:
            relieve()
        with self._changed:
            while self._left == 0 and self._out > 0 and not stopping():
                self._changed.wait(HOLD_SECONDS)
            got = min(wanted, self._left)
            self._left -= got
            self._out += got
            return got

    def give_back(self, reserved: int, handled: int) -> None:
        """Say how many of the reserved ones were handled; the others are free again."""
        with self._changed:
            self.handled += handled
            if self._left is not None:
                self._out -= reserved
                self._left += reserved - handled
                self._changed.notify_all()
