"""What `RabbitMQClient` makes of the arguments that only it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindtrace.jobs.client import checked_queue_type
from mindtrace.jobs.errors import UnsupportedByBackendError
from mindtrace.jobs.loading import backend_from_args, backend_from_url

if TYPE_CHECKING:
    from mindtrace.jobs.backend import QueueType
    from mindtrace.jobs.client import OrchestratorBackend

_NEEDED = {"durable": True, "exclusive": False, "auto_delete": False}
"""The older arguments of a declaration that can be said in one way only."""


def ledger_of(
    said: OrchestratorBackend | str | dict[str, Any] | None,
) -> OrchestratorBackend | None:
    """Return the client of the ledger, however it was said."""
    if isinstance(said, str):
        said = backend_from_url(said)
    elif isinstance(said, dict):
        said = backend_from_args(said)
    if said is not None and not said.capabilities.job_identity:
        message = (
            f"a ledger knows jobs by their ids, which {type(said).__name__} does not; "
            "use a RedisClient or a LocalClient"
        )
        raise ValueError(message)
    return said


def kind_of(
    queue_type: QueueType | str | None, max_priority: int | None
) -> tuple[QueueType | None, bool | None]:
    """Return the type asked for, and whether it is to be replicated; None for "as it is"."""
    said = str(queue_type).lower()
    if said not in ("quorum", "classic"):
        return checked_queue_type(queue_type, max_priority), None
    quorum = said == "quorum"
    if quorum and max_priority is not None:
        instead = "Use a classic priority queue, or a quorum queue without max_priority."
        raise UnsupportedByBackendError("priorities on a quorum queue", "rabbitmq", instead)
    return checked_queue_type(None, max_priority) or "fifo", quorum


def refuse_losing(options: dict[str, Any]) -> None:
    """Take the older arguments out of the options of a declaration, and refuse what loses jobs."""
    options.pop("force", None)
    for name, needed in _NEEDED.items():
        if options.pop(name, needed) is not needed:
            what = f"{name}={not needed} for a queue of jobs, which would lose them"
            raise UnsupportedByBackendError(what, "rabbitmq", f"Leave {name} out.")
