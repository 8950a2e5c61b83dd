"""What goes wrong between a gateway and its apps, and in what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from mindtrace.core.errors import MindtraceError

if TYPE_CHECKING:
    from pathlib import Path

UNAVAILABLE = "AppUnavailable"
"""The type of an error answer that says that an app was not there, or was lost."""

SILENT = "AppTimeout"
"""The type of an error answer that says that an app was silent for too long."""

BAD_GATEWAY, GATEWAY_TIMEOUT = 502, 504


class RegistrationsError(MindtraceError):
    """Says that the registrations of a gateway cannot be read.

    Attributes:
        path: The file.
        problem: Why not.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"{self.path} does not hold the registrations of a gateway: {self.problem}. "
            "Restore it, or delete it to start without apps."
        )

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.path, self.problem)


class AppError(Exception):
    """Says that an app gave no whole answer.

    Attributes:
        status: The HTTP status for the caller.
        kind: The type of the error answer.
        problem: What happened, for the caller: without the address of the app.
        maybe_done: Whether the app may have done what it was asked for.
    """

    def __init__(
        self, kind: str, problem: str, *, status: int = BAD_GATEWAY, maybe_done: bool = True
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.kind = kind
        self.problem = problem
        self.maybe_done = maybe_done


class CallerGoneError(Exception):
    """Says that nobody waits for the answer any more."""
