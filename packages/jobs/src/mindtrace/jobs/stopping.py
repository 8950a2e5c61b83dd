"""Stopping a consumer: by method, by signal, by a second signal."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from mindtrace.jobs.executor import StopNow

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While the block runs in the main thread: the first signal asks to stop, a later one ends.

    It ends by raising `StopNow`, but only where `interruptible` says that this does no harm: in a
    handler, or while others are waited for. Anywhere else our own code is at work, which is done
    in a moment; `at_once` is there for it to look at.

    The handlers found before are restored. In another thread it does nothing.
    """

    def __init__(self, stop: Callable[[], None], interruptible: Callable[[], bool]) -> None:
        self.at_once = False
        self._stop = stop
        self._interruptible = interruptible
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers, in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._handle) for each in STOP_SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the handlers found before."""
        for number, handler in self._before.items():
            # None stands for one that was not installed from Python and cannot be restored
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            self._stop()
            return
        self.at_once = True
        if self._interruptible():
            raise StopNow
