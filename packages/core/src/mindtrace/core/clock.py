"""Time as a parameter.

Code that looks at the time or waits takes a `Clock`, so that a test can move the time by hand
instead of waiting. This module and nothing else in the package asks the machine for the time.
"""

import time
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits; all durations are seconds."""

    def now(self) -> float:
        """Return the seconds since the epoch, UTC. May jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever grow. Only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after at least `seconds` of this clock; at once if it is zero or less."""
        ...


class SystemClock:
    """Tells the time of the machine, and really waits."""

    def now(self) -> float:
        """Return the machine's wall time, in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the machine's monotonic time, in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread for at least `seconds`; return at once if it is zero or less."""
        if seconds > 0:
            time.sleep(seconds)

    def __repr__(self) -> str:
        return "SystemClock()"


class ManualClock:
    """Tells a time that moves only when it is told to; for tests.

    It may be used from several threads. `sleep` never blocks: it moves the time forward and
    returns, so a loop that polls runs as fast as the machine allows.

    Args:
        start: The first wall time, in seconds since the epoch. The monotonic time starts at 0.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._lock = Lock()
        self._start = start
        self._elapsed = 0.0

    def now(self) -> float:
        """Return the start plus all seconds that passed by hand."""
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        """Return all seconds that passed by hand."""
        with self._lock:
            return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Move the time forward by `seconds` and return at once."""
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Move the time forward by `seconds`, for every thread that shares this clock.

        Raises:
            ValueError: `seconds` is negative; time does not run backwards.
        """
        if seconds < 0:
            message = f"A clock moves forward only: expected 0 or more seconds, found {seconds:g}."
            raise ValueError(message)
        with self._lock:
            self._elapsed += seconds

    def __repr__(self) -> str:
        return f"ManualClock(now={self.now()})"


def utcnow(clock: Clock | None = None) -> datetime:
    """Return the current time with its zone, UTC."""
    return datetime.fromtimestamp((clock or SystemClock()).now(), tz=UTC)


def utcnow_iso(clock: Clock | None = None) -> str:
    """Return the current time as ISO 8601 text: UTC, microseconds, `Z` at the end.

    All such texts have the same length, so that their order as text is their order in time.
    """
    return utcnow(clock).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
