"""What a worker process is told to do; travels to it as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self

from places import Place
from pydantic import TypeAdapter

Mode = Literal["plain", "threads", "async"]
Moment = Literal["never", "received", "handler", "effect"]
"""When a worker kills itself: before work begins, inside the handler, between effect and settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """One worker's orders.

    Attributes:
        role: what it does, see `workers.py`.
        place: where the jobs are; the crew's place unless said.
        mode: how a consumer runs its handler: one at a time, in threads, or on an event loop.
        concurrency: how many threads or tasks, unless it is one at a time.
        die_at: the moment at which it kills itself with SIGKILL ...
        die_after: ... when that moment comes for the so many-th time.
        in_thread: whether it consumes in a thread other than the main one.
        own_handlers: whether it has signal handlers of its own before it consumes.
        linger: whether its process lives on after `consume` has returned.
        batch: how many jobs a publisher publishes at once.
        batches: how many batches it publishes; 0 for no end.
        until: a file whose coming ends a publisher.
        patient: whether it publishes a batch again when the backend was away.
        seconds: how long the handlers of its jobs take, one after the other.
        rounds: folders that a racer opens, one after the other.
    """

    role: Literal["consume", "publish", "race"]
    place: Place | None = None
    journal: str = ""
    queues: tuple[str, ...] = ("work",)
    mode: Mode = "plain"
    concurrency: int = 4
    prefetch: int | None = None
    until_empty: bool = False
    die_at: Moment = "never"
    die_after: int = 1
    in_thread: bool = False
    own_handlers: bool = False
    linger: bool = False
    batch: int = 1
    batches: int = 0
    until: str = ""
    patient: bool = False
    seconds: tuple[float, ...] = (0.0,)
    rounds: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the orders as one line of text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the orders that `to_json` wrote."""
        return TypeAdapter(cls).validate_json(text)
