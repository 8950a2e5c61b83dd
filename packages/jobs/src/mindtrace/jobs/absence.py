"""Waiting for a store that is away: a line in the log at each change, longer and longer pauses."""

from __future__ import annotations

import random
import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from mindtrace.jobs.errors import BackendUnavailableError

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
SLICE = 0.25
"""Seconds between looks at the stop flag while a lost store is waited for."""


class Absence:
    """Whether a store is away, as one consumer sees it."""

    def __init__(self, backend: str, logger: logging.Logger, stopping: Callable[[], bool]) -> None:
        self._backend = backend
        self._logger = logger
        self._stopping = stopping
        self._pause = FIRST_PAUSE
        self.away = False

    def lost(self, error: BackendUnavailableError) -> None:
        """Take note that a call failed, and pause before the next one.

        Raises:
            BackendUnavailableError: the one given, if waiting does not help.
        """
        if not error.transient:
            raise error
        if not self.away:
            self.away = True
            self._logger.warning("%s Waiting for it to come back.", error)
        # full jitter up to the pause, in slices, so that a stop is heard
        end = monotonic() + self._pause * random.uniform(0.5, 1)  # noqa: S311 - not a secret
        while (left := end - monotonic()) > 0 and not self._stopping():
            threading.Event().wait(min(left, SLICE))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def found(self) -> None:
        """Take note that a call succeeded."""
        if self.away:
            self.away = False
            self._pause = FIRST_PAUSE
            self._logger.warning("The %s backend is back.", self._backend)
