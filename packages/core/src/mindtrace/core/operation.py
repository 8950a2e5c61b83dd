"""`track_operation`: one line when something starts, one when it ends, with its duration."""

import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from mindtrace.core.clock import Clock, SystemClock
from mindtrace.core.log import RESERVED, get_logger

P = ParamSpec("P")
R = TypeVar("R")


class track_operation:  # noqa: N801 - reads as a verb where it is used
    """Logs the start, the end, the duration and the failure of a block or of each call.

    Use it as `with`, as `async with`, or as a decorator of a plain or async function. The lines
    carry the fields `operation`, `status` (`started`, `completed` or `failed`) and, at the end,
    `duration` in seconds, together with the fields given here. An exception is logged as an error
    with its traceback, and passes on. `KeyboardInterrupt`, cancellation and the like end the
    operation as `stopped`, without a traceback.

    A `with` object may be entered again after it ended, but not while it runs; a decorated
    function may be called in many threads at once. A generator function is timed only until it
    hands out its generator.

    Args:
        name: What the operation is called; a decorated function's own name if not given.
        logger: Where to log; the logger `mindtrace.operation` if not given.
        level: The level of the lines about start and success.
        clock: What measures the duration.
        fields: Fields to add to each line. They appear in logs, so keep secrets out.
    """

    def __init__(
        self,
        name: str | None = None,
        /,
        *,
        logger: logging.Logger | None = None,
        level: int = logging.INFO,
        clock: Clock | None = None,
        **fields: object,
    ) -> None:
        self._name = name
        self._logger = logger or get_logger("operation")
        self._level = level
        self._clock = clock or SystemClock()
        # `logging` refuses fields that carry the name of a record's own attribute.
        self._fields = {f"{key}_" if key in RESERVED else key: fields[key] for key in fields}
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = self._clock.monotonic()
        self._log(self._level, "started", {})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        duration = {"duration": round(self._clock.monotonic() - self._started, 6)}
        if error is None:
            self._log(self._level, "completed", duration)
        elif isinstance(error, Exception):
            self._log(logging.ERROR, "failed", duration, error)
        else:
            self._log(self._level, "stopped", duration)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with each of its calls tracked."""
        if iscoroutinefunction(function):
            waiting = cast("Callable[P, Coroutine[object, object, object]]", function)

            @wraps(function)
            async def tracked_async(*args: P.args, **kwargs: P.kwargs) -> object:
                with self._for(function):
                    return await waiting(*args, **kwargs)

            return cast("Callable[P, R]", tracked_async)

        @wraps(function)
        def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._for(function):
                return function(*args, **kwargs)

        return tracked

    def _for(self, function: Callable[..., object]) -> "track_operation":
        return track_operation(
            self._name or function.__qualname__,
            logger=self._logger,
            level=self._level,
            clock=self._clock,
            **self._fields,
        )

    def _log(
        self,
        level: int,
        status: str,
        measured: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        name = self._name or "operation"
        self._logger.log(
            level,
            "%s %s",
            name,
            status,
            extra={**self._fields, **measured, "operation": name, "status": status},
            exc_info=error,
        )
