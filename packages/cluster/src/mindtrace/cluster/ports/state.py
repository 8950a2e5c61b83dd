"""Where a cluster keeps what is not a job: routes, workers, nodes, apps, and the order of jobs.

Documents are small JSON objects, each under a kind and a key. Beside them is an index of the jobs
that were submitted, which knows of each only its id, its type and when; what became of a job is in
the ledger of the queue alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Indexed(NamedTuple):
    """A job in the index."""

    number: int
    job_id: str
    schema_name: str
    submitted_at: float


class StateStore(Protocol):
    """Keeps documents. Thread-safe; what was written is seen by every other client at once.

    Raises:
        StateUnavailableError: from every method, when the store cannot be reached or is full.
    """

    address: str
    """Where it is, without credentials."""

    def put(self, kind: str, key: str, document: dict[str, Any]) -> None:
        """Write a document, in place of an earlier one."""
        ...

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a document, or None."""
        ...

    def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return those documents of a kind that are there, by key."""
        ...

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the documents of a kind by key."""
        ...

    def remove(self, kind: str, key: str) -> bool:
        """Remove a document; tell whether there was one."""
        ...

    def clear(self, kind: str) -> None:
        """Remove the documents of a kind."""
        ...

    def index(self, jobs: Sequence[tuple[str, str]], now: float) -> None:
        """Add jobs, as (id, type), to the end of the index, submitted at a time.

        One that is there keeps its place, and was submitted now.
        """
        ...

    def indexed(self, after: int, limit: int, schema_name: str | None = None) -> list[Indexed]:
        """Return up to `limit` jobs behind a number, in the order of their places."""
        ...

    def number_of(self, job_id: str) -> int | None:
        """Return the number of a job in the index, or None."""
        ...

    def forget(self, job_ids: Sequence[str], before: float) -> int:
        """Remove those of these jobs from the index that were submitted before a time.

        Returns:
            How many.
        """
        ...

    def clear_index(self) -> None:
        """Remove all jobs from the index."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def open_state(url: str) -> StateStore:
    """Return the store of a URL: `sqlite:////folder`, `redis://host:port/db`.

    Raises:
        ValueError: the scheme is not known.
        ImportError: the package that it takes is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        from mindtrace.cluster.ports.sqlite_state import SqliteState  # noqa: PLC0415 - as needed

        return SqliteState(rest[1:])
    if separator and scheme in {"redis", "rediss"}:
        from mindtrace.cluster.ports.redis_state import RedisState  # noqa: PLC0415 - as needed

        return RedisState(url)
    # the URL itself may hold a password
    message = f"no state store for the URL scheme {scheme if separator else ''!r}: sqlite, redis"
    raise ValueError(message)
