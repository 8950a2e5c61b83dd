"""What the stages of Redis and RabbitMQ share: a server, and names that are removed afterwards."""

import secrets
from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, ClassVar

from mindtrace.jobs import OrchestratorBackend, load_backend
from tools.benchmarks.broker_peers import broker_peers
from tools.benchmarks.floors import opened
from tools.benchmarks.libraries import Library
from tools.benchmarks.ours import Ours
from tools.benchmarks.settings import Settings
from tools.benchmarks.stage import Pair, Peers, Stage
from tools.services.catalogue import Service
from tools.services.ladder import Ladder

TURNS_OF_A_PEER = 3
"""A peer has one turn where the floor has so many: processes are started for each."""

PEERS = """\
Peers have one worker process, started the fastest of the ways that were tried (in brackets), a job
that does nothing, and keep no results. A peer's rate of consuming counts from the start of its
first job to that of its last one; ours from the call of consume until it has settled all."""


class BrokerStage(Stage):
    """A backend on a server, which others may use at the same time.

    Attributes:
        service: what is known of its server.
        raw: what the floor does, in a sentence.
        libraries: the peers.
        url: the server's address.
        where: where that came from.
    """

    measures = (
        *("publish", "publish_many", "consume", "peers"),
        *("latency", "idle", "memory", "takeover"),
    )
    service: ClassVar[Service]
    raw: ClassVar[str]
    libraries: Sequence[Library]

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """Find a server, or start one.

        Raises:
            UnavailableError: there is none.
        """
        super().__init__(settings, stack)
        found = Ladder(self._installing, may_install=False).find(self.service)
        stack.callback(found.close)
        self.url = found.url
        self.where = found.how

    @property
    def note(self) -> str:
        """What the floor does, and how the peers are set."""
        lines = [self.raw, PEERS, *(f"- {each.name}: {each.note}" for each in self.libraries)]
        return "\n".join(lines)

    @staticmethod
    def _installing(_: str) -> None:
        """Be told what is installed: nothing."""

    @abstractmethod
    def wipe(self, prefix: str) -> None:
        """Remove everything from the server whose name begins with a prefix of ours."""

    @contextmanager
    def both(self, queue_type: str | None = None, **options: Any) -> Generator[Pair]:
        """Open both under a new prefix."""
        with self.new_names() as prefix:
            our_place = {"backend": self.name, "kwargs": {"url": self.within(prefix)}}
            place = {"kind": self.name, "url": self.url, "prefix": prefix}
            with (
                closing(Ours(self.client(prefix), queue_type, **options)) as ours,
                closing(opened(**place)) as floor,
            ):
                yield Pair(ours, floor, our_place, place)

    def client(self, namespace: str) -> OrchestratorBackend:
        """Return our client for a namespace, with every default."""
        return load_backend(self.name).from_url(self.within(namespace))

    def within(self, namespace: str) -> str:
        """Return the server's address with a namespace for our client."""
        return within(self.url, namespace)

    @contextmanager
    def new_names(self) -> Generator[str]:
        """Lend a prefix for names; everything that has it is removed afterwards."""
        prefix = f"mindtracebench{secrets.token_hex(5)}"  # letters that every library takes
        try:
            yield prefix
        finally:
            self.wipe(prefix)

    def peers(self, stack: ExitStack) -> Peers:
        """Open other libraries on the same server."""
        others, left_out = broker_peers(self, self.peer_count, stack)
        ours = Ours(self.client(stack.enter_context(self.new_names())))
        stack.callback(ours.close)
        return Peers(ours, others, left_out)

    @property
    def peer_count(self) -> int:
        """How many jobs make a turn with peers."""
        return self.settings.many // 2

    @property
    def peer_rounds(self) -> int:
        """How many turns each peer has."""
        return max(1, self.settings.rounds // TURNS_OF_A_PEER)


def within(url: str, namespace: str) -> str:
    """Add a namespace to a server's address."""
    return f"{url}{'&' if '?' in url else '?'}namespace={namespace}"
