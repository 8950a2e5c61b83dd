"""A child's watch over the process that launched it: when that one is gone, the child is told.

Two signs are watched, since either may fail: the other end of a pipe (which a forked process may
hold open), and the process itself (by a file descriptor for it, where the system has those).
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_EVERY = 500
"""Milliseconds between looks at the parent where there is no descriptor for a process."""


class Parent:
    """The process that launched this one.

    Args:
        number: Its number. This process cannot ask for it: where the parent is gone already, its
            own parent is another one by now.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._first = os.getppid()  # another one where a program in between starts the interpreter
        self._gone = False
        self._descriptor: int | None = None
        try:
            if hasattr(os, "pidfd_open"):
                self._descriptor = os.pidfd_open(number)
        except ProcessLookupError:
            self._gone = True
        except OSError:
            pass  # an older kernel

    def take(self, pipe: int, count: int) -> bytes:
        """Read what the parent wrote; nothing if it is gone and all is read."""
        return os.read(pipe, count) if self._awaits(pipe, select.POLLIN) else b""

    def watch(self, pipe: int, ended: Callable[[], None]) -> None:
        """Call `ended` once, from a thread of its own, when the parent is gone.

        Args:
            pipe: The end of a pipe whose other end the parent holds; nothing more is written to it.
            ended: What is called.
        """

        def watch() -> None:
            self._awaits(pipe, select.POLLIN)
            ended()

        threading.Thread(target=watch, name="mindtrace-lifeline", daemon=True).start()

    def _awaits(self, pipe: int, event: int) -> bool:
        """Wait until something is in the pipe, or its end, or the parent is gone; tell whether it
        is the pipe.
        """
        poll = select.poll()
        poll.register(pipe, event)
        if self._descriptor is not None:
            poll.register(self._descriptor, select.POLLIN)
        while True:
            gone = self._is_gone()
            pause = 0 if gone else None if self._descriptor is not None else _LOOK_EVERY
            ready = {number for number, _ in poll.poll(pause)}
            if pipe in ready:
                return True
            if gone or ready:
                return False

    def _is_gone(self) -> bool:
        if self._descriptor is not None:
            return False  # it is polled
        self._gone = self._gone or os.getppid() != self._first
        with contextlib.suppress(PermissionError):
            try:
                os.kill(self._number, 0)
            except ProcessLookupError:
                self._gone = True
        return self._gone
