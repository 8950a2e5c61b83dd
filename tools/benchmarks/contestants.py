"""Who takes turns: the protocol that ours, the raw floors and the peers all follow."""

from typing import Protocol

FILL_AT_ONCE = 1000
"""Jobs in one `publish_many`, and the number of different payloads."""


class Contestant(Protocol):
    """A queue. What is timed returns the seconds it took."""

    name: str

    def publish(self, count: int) -> float:
        """Add jobs, one call each, every one safe when its call returns."""
        ...

    def publish_many(self, count: int) -> float:
        """Add jobs many at a time."""
        ...

    def fill(self, count: int) -> None:
        """Add jobs that are to be consumed, by the fastest way there is."""
        ...

    def consume(self, count: int) -> float:
        """Take, decode and settle jobs, with a handler that does nothing."""
        ...

    def empty(self) -> None:
        """Remove what is left over."""
        ...

    def close(self) -> None:
        """Close files and connections, and end processes."""
        ...


class Peer(Contestant, Protocol):
    """Another library's queue."""

    @property
    def label(self) -> str:
        """The library with its version, and how its worker is set where there was a choice."""
        ...
