"""Who takes turns: the protocol that ours, the raw floor and the peers all follow."""

from typing import Protocol

FILL_AT_ONCE = 1000
"""Jobs in one `publish_many`, and the number of different payloads."""


class Contestant(Protocol):
    """A queue on SQLite. What is timed returns the seconds it took."""

    name: str

    def publish(self, count: int) -> float:
        """Add jobs, one call and one commit each."""
        ...

    def publish_many(self, count: int) -> float:
        """Add jobs many at a time."""
        ...

    def consume(self, count: int) -> float:
        """Take, decode and settle jobs, with a handler that does nothing."""
        ...

    def empty(self) -> None:
        """Remove what is left over."""
        ...

    def close(self) -> None:
        """Close files and end processes."""
        ...
