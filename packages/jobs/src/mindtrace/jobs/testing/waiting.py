"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from mindtrace.core.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_EVERY = 0.005
T = TypeVar("T")


def eventually(predicate: Callable[[], object], *, within: float = 20.0, what: str = "") -> None:
    """Return as soon as the predicate holds.

    Raises:
        AssertionError: it did not hold within that many (real) seconds.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + within
    while not predicate():
        if clock.monotonic() > deadline:
            message = f"{what or 'the condition'} did not come true within {within:g} s"
            raise AssertionError(message)
        pause(_LOOK_EVERY)


def seconds_of(call: Callable[[], object]) -> float:
    """Return how many real seconds a call takes."""
    clock = SystemClock()
    began = clock.monotonic()
    call()
    return clock.monotonic() - began


def pause(seconds: float) -> None:
    """Let real time pass: only where the passing of time is itself what is tested."""
    threading.Event().wait(seconds)


class Background(Generic[T]):
    """One call in a thread of its own; `result` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], T], name: str = "background") -> None:
        self._call = call
        self._error: BaseException | None = None
        self._values: list[T] = []
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asks
            self._error = error
        finally:
            self.done.set()

    def result(self, within: float = 30.0) -> T:
        """Return what the call returned; raise what it raised."""
        assert self.done.wait(within), f"still running after {within:g} s"
        self._thread.join(within)
        if self._error is not None:
            raise self._error
        return self._values[0]
