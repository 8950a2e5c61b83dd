"""Bounding how long a handler runs.

In the main thread a timer signal interrupts it, also inside a blocking system call. In another
thread an exception is set that the interpreter raises at the next bytecode: a call that blocks in
C is only ended when it returns. C code that holds the interpreter's lock is interrupted by
neither.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from mindtrace.jobs.errors import JobTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

A = TypeVar("A")
R = TypeVar("R")


class _TimeIsUp(BaseException):
    """Raised inside the handler; no Exception, so that its own `except Exception` passes it."""


def run_bounded(call: Callable[[A], R], argument: A, seconds: float, job_id: str) -> R:
    """Return `call(argument)`, or raise JobTimeoutError when it takes longer than `seconds`."""
    bounded = _in_main_thread if _is_main_thread() else _in_other_thread
    try:
        return bounded(call, argument, seconds)
    except _TimeIsUp:
        raise JobTimeoutError(job_id, seconds, doing="was still running and did not end") from None


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _in_main_thread(call: Callable[[A], R], argument: A, seconds: float) -> R:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, interrupt)
    began_at = monotonic()
    outer = 0.0
    results: list[R] = []
    try:
        try:
            outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
            results.append(call(argument))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimeIsUp:
        if not results:  # it came after the handler had ended
            raise
    finally:
        signal.signal(signal.SIGALRM, before)
        if outer:  # one job was run inside another: its bound goes on
            signal.setitimer(signal.ITIMER_REAL, max(0.001, outer - (monotonic() - began_at)))
    return results[0]


def _in_other_thread(call: Callable[[A], R], argument: A, seconds: float) -> R:
    thread = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()
    running, sent = True, False

    def interrupt() -> None:
        nonlocal sent
        with lock:
            if running:
                sent = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TimeIsUp))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    results: list[R] = []
    raised = False
    try:
        try:
            results.append(call(argument))
        except _TimeIsUp:
            raised = True
            raise
        finally:
            timer.cancel()
            with lock:
                running = False
            if sent and not raised:
                _absorb()
    except _TimeIsUp:
        if not results:  # else it came after the handler had ended
            raise
    return results[0]


def _absorb() -> None:
    """Let an exception that was set for this thread come now; it does at one of these lines.

    It cannot be taken back: on Python 3.11 that leaves a traced thread spinning for ever.
    """
    while True:
        pass
