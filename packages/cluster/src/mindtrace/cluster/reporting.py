"""`Reporter`: tells a manager how a worker or a node does, at each change and every few seconds."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from mindtrace.core.errors import MindtraceError
from mindtrace.core.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

_log = get_logger(__name__)

HEARTBEAT = 2.0
"""Seconds between two signs of life of a worker or a node."""


class Reporter:
    """Calls `report` from a thread of its own.

    Changes that come quickly are told together: what counts is the last one. A manager that is away
    is told when it is back; a job never waits for it.

    Args:
        report: Tells; what it raises is logged once, when the manager has been away for as long as
            `every` says, until it works again.
        every: Seconds between two reports where nothing changes.
        pause: Seconds between two reports at least.
    """

    def __init__(self, report: Callable[[], None], *, every: float, pause: float = 0.05) -> None:
        self._report = report
        self._every = every
        self._pause = pause
        self._changed = threading.Event()
        self._leaving = threading.Event()
        self._stopping = threading.Event()
        self._away_since: float | None = None
        self._said = False
        self._thread = threading.Thread(target=self._run, name="mindtrace-report", daemon=True)

    def start(self) -> None:
        """Begin, with a first report that is made when this returns."""
        self._tell()
        self._thread.start()

    def changed(self) -> None:
        """Say that there is something new."""
        self._changed.set()

    def leave(self) -> None:
        """Say that the end is near: a manager that cannot be told of it is no news.

        A whole cluster that ends together ends in any order.
        """
        self._leaving.set()

    def stop(self) -> None:
        """End, after a last report."""
        self.leave()
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait(self._every)
            self._changed.clear()
            self._tell()
            self._stopping.wait(self._pause)

    def _tell(self) -> None:
        try:
            self._report()
        except MindtraceError as error:
            if self._away_since is None:
                self._away_since = monotonic()
            # not at once: a cluster that ends as a whole ends in any order
            is_long = monotonic() - self._away_since >= self._every
            if is_long and not (self._said or self._leaving.is_set()):
                _log.warning("The manager cannot be told how it goes: %s", error)
                self._said = True
        else:
            if self._said:
                _log.info("The manager is back.")
            self._away_since, self._said = None, False
