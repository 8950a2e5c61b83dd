"""Files that one process holds, or several share, until they let go or end."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

    from mindtrace.cluster.git.program import Patience

_LOOK_EVERY = 0.05
"""Seconds between tries to get what somebody else holds."""


class Hold:
    """A file that is held; threads exclude each other as processes do."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.is_held = True

    @classmethod
    def attempt(cls, path: Path, *, shared: bool = False) -> Self | None:
        """Return a hold on a file, which is made if need be; None if somebody else's is against it.

        Args:
            path: The file. Whoever holds it alone may remove it.
            shared: Whether others may hold it in the same way.
        """
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                if _is_still(path, descriptor):
                    return cls(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # it was removed just before: a new one is made

    @classmethod
    def wait(cls, path: Path, patience: Patience) -> Self:
        """Return a hold on a file, alone, as soon as it can be had.

        Raises:
            GivenUpError: It took too long.
        """
        end = patience.ends()
        while (found := cls.attempt(path)) is None:
            patience.check(end)
            patience.stop.wait(_LOOK_EVERY)
        return found

    def release(self) -> None:
        """Let go. A program that was given the descriptor still holds it until it ends."""
        if self.is_held:
            self.is_held = False
            os.close(self.descriptor)

    def remove(self) -> None:
        """Remove the file, and let go; only of one that is held alone."""
        self.path.unlink(missing_ok=True)
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
