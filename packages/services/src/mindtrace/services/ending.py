"""How the process of a service ends: in good time, whatever its handlers do."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 0.5
"""Seconds that threads have to end when everything else has."""

FINAL = 2.0
"""Seconds that an event loop has to close when nothing is served any more."""


class Ending:
    """Sees to it that this process ends. Its methods may be called by signal handlers.

    Args:
        pid_file: The file with the number of this process, which ends with it.
        gone_within: Seconds that it has, once it was told to stop.
    """

    def __init__(self, pid_file: str | None, gone_within: float) -> None:
        self._gone_within = gone_within
        self._pid_file = Path(pid_file) if pid_file else None
        self._stop: Callable[[], None] | None = None
        # of all ways to tell a thread something, this one alone is safe in a signal handler
        self._limits: SimpleQueue[float] = SimpleQueue()
        threading.Thread(target=self._wait, name="mindtrace-ending", daemon=True).start()

    def write_pid(self) -> None:
        """Write the number of this process where others find it."""
        if self._pid_file is not None:
            self._pid_file.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(os.open(self._pid_file, flags, 0o600), "w") as stream:
                stream.write(str(os.getpid()))

    def remove_pid(self) -> None:
        """Remove that file."""
        if self._pid_file is not None:
            with contextlib.suppress(OSError):
                self._pid_file.unlink(missing_ok=True)

    def serves(self, stop: Callable[[], None]) -> None:
        """Remember what asks this process to stop; until this is called there is nothing to ask."""
        self._stop = stop

    def begins(self) -> None:
        """Remember that it was told to stop: from now on its time is limited."""
        self._limits.put(monotonic() + self._gone_within)

    def is_nearly_over(self) -> None:
        """Remember that nothing is served any more: what is left to do takes no time."""
        self._limits.put(monotonic() + FINAL)

    def orphaned(self) -> None:
        """Stop serving, since the process that launched this one is gone.

        What is still starting ends at once.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # nobody reads them any more
            os.dup2(nowhere, stream)
        if self._stop is None:
            self._leave(1)
        else:
            self._stop()

    def _wait(self) -> None:
        end = self._limits.get()
        while (left := end - monotonic()) > 0:
            with contextlib.suppress(Empty):
                end = min(end, self._limits.get(timeout=left))
        self._leave(0)

    def _leave(self, code: int) -> None:
        self.remove_pid()
        os._exit(code)


def leave(code: int) -> None:
    """End this process, without waiting for threads that do not end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    end = monotonic() + AT_ONCE
    busy = [each for each in threading.enumerate() if not each.daemon]
    busy.remove(threading.main_thread())
    for each in busy:
        each.join(max(0.0, end - monotonic()))
    if any(each.is_alive() for each in busy):
        # the interpreter would wait for them, for ever perhaps
        if "mindtrace.services.child" in sys.modules:
            from mindtrace.services.child import end_all  # noqa: PLC0415 - if there are any

            end_all()
        os._exit(code)
    sys.exit(code)
