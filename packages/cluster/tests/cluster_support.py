"""What several tests of the cluster share."""

import random
from collections.abc import Callable
from threading import Event
from time import monotonic

from mindtrace.core.net import get_free_port


def eventually(predicate: Callable[[], object], *, within: float = 80.0, what: str = "") -> None:
    """Return as soon as the predicate holds.

    Raises:
        AssertionError: it did not hold within that many seconds.
    """
    end = monotonic() + within
    while not predicate():
        if monotonic() > end:
            message = f"{what or 'the condition'} did not come true within {within:g} s"
            raise AssertionError(message)
        Event().wait(0.02)


def free_port() -> int:
    """Return a port that is free, and that another process of tests hardly chooses as well."""
    return get_free_port("localhost", random.randrange(20_000, 29_000), 30_000)
