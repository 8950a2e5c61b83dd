"""A stage: what the measures need of one backend. They never ask which one it is."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tools.benchmarks.children import Child, python
from tools.benchmarks.contestants import Contestant, Peer
from tools.benchmarks.floors.base import Floor
from tools.benchmarks.ours import Ours
from tools.benchmarks.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What is asked of a backend. Ratios are of at least, the others at most; None asks nothing.

    Attributes:
        publish: ratio to the floor.
        publish_many: ratio to the floor.
        consume: ratio to the floor.
        p50: milliseconds from publish to the start of the handler.
        p99: milliseconds, likewise.
        takeover: seconds from the death of the holder to the start in another process.
        peers_publish: ratio to each peer.
        peers_consume: ratio to each peer, so also to the best of them.
        depth: ratio of a deep queue to a shallow one.
        memory: MiB of a consumer.
        growth: MiB that it grows by, less than.
    """

    publish: float
    publish_many: float
    consume: float
    p50: float
    p99: float
    takeover: float
    peers_publish: float | None
    peers_consume: float
    depth: float | None = None
    memory: float | None = None
    growth: float | None = None


class Pair(NamedTuple):
    """Ours and the floor, opened side by side, and what another process needs to open them.

    Attributes:
        our_place: as `backend_from_args` takes it.
        floor_place: as `opened` takes it.
    """

    ours: Ours
    floor: Floor
    our_place: dict[str, Any]
    floor_place: dict[str, str]

    def our_child(self, mode: str) -> Child:
        """Start a process with our consumer."""
        return told(self.our_place, "our_child", mode)

    def floor_child(self) -> Child:
        """Start a process with the floor's consumer."""
        return told(self.floor_place, "floor_child")


class Peers(NamedTuple):
    """Ours and other libraries on the same store, and the reasons for which some are left out."""

    ours: Contestant
    others: Sequence[Peer]
    left_out: Sequence[str]


class Stage(ABC):
    """One backend with its floor, its peers and its bars.

    Attributes:
        measures: the names of those that apply, in order.
        takeover_options: options of the queue whose holder is killed.
        with_keepers: whether another process keeps a consumer's leases, which may die with it.
        with_results: whether a submitter can read what its job returned.
    """

    name: ClassVar[str]
    bars: ClassVar[Bars]
    measures: ClassVar[tuple[str, ...]]
    takeover_options: ClassVar[dict[str, Any]] = {}
    with_keepers: ClassVar[bool] = False
    with_results: ClassVar[bool] = True

    def __init__(self, settings: Settings, _: ExitStack) -> None:
        """The stack ends what the stage starts."""
        self.settings = settings

    @property
    @abstractmethod
    def note(self) -> str:
        """What a reader of the table must know of the floor and the peers."""

    @property
    def one_by_one(self) -> int:
        """How many single publishes make a turn."""
        return self.settings.count

    @abstractmethod
    def facts(self) -> dict[str, str | int | float]:
        """Return what the numbers depend on, beside the machine."""

    @abstractmethod
    def both(self, queue_type: str | None = None, **options: Any) -> AbstractContextManager[Pair]:
        """Open ours and the floor in a new place, which is removed afterwards.

        `queue_type` and `options` are those of our queue.
        """

    @abstractmethod
    def peers(self, stack: ExitStack) -> Peers:
        """Open the peers and ours beside them; the stack closes them.

        Raises:
            SkippedError: none can take part.
        """

    @property
    @abstractmethod
    def peer_count(self) -> int:
        """How many jobs make a turn with peers."""

    @property
    @abstractmethod
    def peer_rounds(self) -> int:
        """How many turns each peer has."""


def told(place: dict[str, Any], *command: str) -> Child:
    """Start a module of this folder, and tell it a place."""
    # in a pipe rather than in the command, which everybody can read: there may be a password in it
    child = python(*command)
    child.say(json.dumps(place))
    return child
