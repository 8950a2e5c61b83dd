"""`Workplace`: a checkout, and the environment of its project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mindtrace.cluster.git.checkout import Checkout
from mindtrace.cluster.git.environment import Environment
from mindtrace.cluster.git.project import Project

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

    from mindtrace.cluster.git.access import Access
    from mindtrace.cluster.git.source import Source


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a worker from Git works; `close` gives it up."""

    checkout: Checkout
    environment: Environment

    @classmethod
    def make(cls, source: Source, cache: Path, access: Access, stop: Event | None = None) -> Self:
        """Check out a source, and make the environment of its project; see those two.

        Raises:
            ClusterError: What was asked for cannot be had; it says why.
            ImportError: GitPython, git or uv is missing.
        """
        checkout = Checkout.make(source, cache, access, stop)
        try:
            project = Project.of(checkout, source)
            environment = Environment.make(project, cache, beside_node=True, stop=stop)
        except BaseException:
            checkout.close()
            raise
        return cls(checkout, environment)

    def close(self) -> None:
        """Remove the checkout, and let others have the environment."""
        self.environment.close()
        self.checkout.close()
