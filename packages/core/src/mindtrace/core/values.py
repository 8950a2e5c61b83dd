"""Small expressions about values that may be missing."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")
F = TypeVar("F", bound=Callable[..., object])


def ifnone(value: T | None, default: D) -> T | D:
    """Return `value`, or `default` if it is None. Zero, `""` and False are values."""
    return default if value is None else value


def first_not_none(values: Iterable[T | None], default: T | None = None) -> T | None:
    """Return the first value that is not None, or `default` if there is none.

    Values after it are not looked at, so an endless iterable is fine.
    """
    return next((value for value in values if value is not None), default)


def named_lambda(name: str, function: F) -> F:
    """Give a lambda a name that shows in tracebacks and logs, and return the same object."""
    function.__name__ = function.__qualname__ = name
    return function
