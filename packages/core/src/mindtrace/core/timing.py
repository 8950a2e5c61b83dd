"""Trying until something works, and measuring how long something takes."""

import sys
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from mindtrace.core.clock import Clock, SystemClock

P = ParamSpec("P")
R = TypeVar("R")


class Timeout:
    """Calls a function again and again until it stops raising, or the time is up.

    The function is called at least once, and a call under way is never interrupted, so one slow
    call can exceed the time. It may therefore run many times: it must bear being repeated. Use
    `run`, or the object as a decorator.

    Args:
        timeout: Seconds until no further call is made.
        retry_delay: Seconds between two calls.
        exceptions: What counts as "not yet"; any other exception passes at once.
        progress_bar: Whether a line on stderr shows the time that passed.
        desc: What that line and the error call the work; the function's name if not given.
        clock: What tells the time and waits.
    """

    def __init__(
        self,
        timeout: float = 60.0,
        retry_delay: float = 1.0,
        exceptions: tuple[type[Exception], ...] = (Exception,),
        progress_bar: bool = False,  # noqa: FBT001, FBT002
        desc: str | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.timeout = timeout
        self.retry_delay = retry_delay
        self.exceptions = exceptions
        self.progress_bar = progress_bar
        self.desc = desc
        self._clock = clock or SystemClock()

    def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `function` returns, once it does.

        Raises:
            TimeoutError: The time is up; chained from what the last call raised.
            TypeError: `function` is async: calling it would never raise.
        """
        what = self.desc or getattr(function, "__name__", repr(function))
        if iscoroutinefunction(function):
            message = f"Timeout repeats plain functions; {what} is async."
            raise TypeError(message)
        start = self._clock.monotonic()
        try:
            while True:
                try:
                    return function(*args, **kwargs)
                except self.exceptions as error:
                    passed = self._clock.monotonic() - start
                    if passed >= self.timeout:
                        message = f"{what} did not succeed within {self.timeout:g} seconds."
                        raise TimeoutError(message) from error
                self._show(f"\r{what}: {passed:.0f} of {self.timeout:g} s")
                self._clock.sleep(min(self.retry_delay, self.timeout - passed))
        finally:
            self._show("\n")

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with each of its calls repeated as `run` does."""

        @wraps(function)
        def repeated(*args: P.args, **kwargs: P.kwargs) -> R:
            return self.run(function, *args, **kwargs)

        return repeated

    def _show(self, text: str) -> None:
        if self.progress_bar:
            sys.stderr.write(text)
            sys.stderr.flush()


class Timer:
    """Measures seconds, over one stretch or several.

    Use it as a context manager or with `start` and `stop`; the stretches add up until `reset`.
    It is not meant to be shared between threads.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._sum = 0.0
        self._started: float | None = None

    @property
    def duration(self) -> float:
        """Return the seconds measured so far, those of a running stretch included."""
        running = 0.0 if self._started is None else self._clock.monotonic() - self._started
        return self._sum + running

    def start(self) -> None:
        """Begin a stretch; does nothing while one is running."""
        if self._started is None:
            self._started = self._clock.monotonic()

    def stop(self) -> float:
        """End the stretch, if one is running, and return the seconds measured in all."""
        self._sum = self.duration
        self._started = None
        return self._sum

    def reset(self) -> None:
        """Stop, and forget all that was measured."""
        self._sum = 0.0
        self._started = None

    def restart(self) -> None:
        """Forget all that was measured, and begin a stretch."""
        self.reset()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
