"""Who turns a typed function into a consumer of a task: the hook behind `TaskSchema.handler`.

Core runs no jobs; the package that does binds its factory here, `mindtrace.jobs` when it is
imported. The module is apart from `TaskSchema` so that binding loads no pydantic.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mindtrace.core.task import TaskSchema


class HandlerFactory(Protocol):
    """Turns a typed function into something that consumes the jobs of a schema."""

    def __call__(
        self, schema: "TaskSchema", function: Callable[..., object], options: dict[str, Any], /
    ) -> object:
        """Return the consumer made of `function`; `options` are the decorator's arguments."""
        ...


_bound: list[HandlerFactory] = []


def bind_handler_factory(factory: HandlerFactory) -> None:
    """Make `factory` the one that `TaskSchema.handler` calls, in place of any earlier one.

    There is one factory per process; it is meant to be bound at import, before threads start.
    """
    _bound[:] = [factory]


def bound_handler_factory() -> HandlerFactory:
    """Return the factory that was bound last.

    Raises:
        ImportError: No package that runs jobs has been imported.
    """
    if not _bound:
        message = (
            "A handler needs mindtrace.jobs to run it: "
            "pip install mindtrace-jobs, then import mindtrace.jobs."
        )
        raise ImportError(message)
    return _bound[0]
