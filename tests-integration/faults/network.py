"""What networks do, done to a publisher and to consumers at work, one after the other.

Each trouble says itself whether it hit: it waits until a publish is under way while a job runs, or
until a connection that it broke has been replaced.
"""

import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import hits
from crew import Crew
from places import Place
from proxy import FaultProxy
from traffic import Traffic

from mindtrace.jobs.testing.waiting import eventually

HEARTBEAT = 2
NOTICED_WITHIN = 30.0
BACK_WITHIN = 60.0
DELAY = 0.05
FRAGMENTS = (1, 7, 40, 150, 400, 1500)
"""After so many bytes a connection is cut: within the first words of a command, and later."""


def far(crew: Crew, proxy: FaultProxy) -> Place:
    """The place of a crew by way of a proxy, for clients that notice soon when it is silent."""
    place = crew.place.through(proxy.port)
    return place.said(heartbeat=HEARTBEAT) if place.backend == "rabbitmq" else place


@dataclass(slots=True)
class Network:
    """Traffic by way of a proxy."""

    crew: Crew
    traffic: Traffic
    proxy: FaultProxy
    hits: dict[str, int] = field(default_factory=dict[str, int])
    """What each trouble hit: running jobs, or connections."""

    def begin(self) -> None:
        """Start everybody behind the proxy."""
        self.traffic.begin(far(self.crew, self.proxy))

    # the troubles

    def delay(self) -> None:
        """Everything takes longer, both ways."""
        self.proxy.delay = DELAY
        before = {each.pid: len(each.lines("published")) for each in self.traffic.publishers}
        for each in self.traffic.publishers:
            # the first of these may have been under way before
            each.wait_for("published", before[each.pid] + 3, within=NOTICED_WITHIN)
        self.proxy.delay = 0.0
        for each in self.traffic.publishers:
            begun, done = each.lines("publishing"), each.lines("published")
            place = before[each.pid] + 1
            assert done[place].at - begun[place].at >= 2 * DELAY, "nothing was delayed"
        self._count("delay", len(self.traffic.publishers))
        self.traffic.flows(BACK_WITHIN)

    def hang_for_a_moment(self) -> None:
        """Nothing passes for a while, less long than anybody waits."""
        with self._struck("short silence"):
            pass
        self.traffic.flows(BACK_WITHIN)

    def hang(self) -> None:
        """Nothing passes until somebody has given up."""
        before = self.crew.journal.count("away")
        with self._struck("long silence"):
            eventually(
                lambda: self.crew.journal.count("away") > before,
                within=60.0,
                what="somebody who notices",
            )
        self.traffic.flows(2 * BACK_WITHIN)

    def reset(self) -> None:
        """All connections are reset."""
        with self._struck("reset"):
            self.proxy.cut()
        self.traffic.flows(BACK_WITHIN)

    def refuse(self) -> None:
        """All connections are reset, and no new ones come about until somebody has noticed."""
        before = self.crew.journal.count("away")
        self.proxy.refuses = True
        with self._struck("refusal"):
            self.proxy.cut()
        eventually(lambda: self.crew.journal.count("away") > before, within=NOTICED_WITHIN)
        self.proxy.refuses = False
        self.traffic.flows(BACK_WITHIN)

    def cut_commands(self, draw: random.Random) -> None:
        """A connection ends in the middle of what a client says, again and again."""
        for size in draw.sample(FRAGMENTS, len(FRAGMENTS)):
            accepted, open_ = self.proxy.accepted, self.proxy.open
            self.proxy.cut_after(size)
            eventually(
                # what nobody needs at the moment is not replaced
                lambda a=accepted, o=open_: self.proxy.accepted > a or self.proxy.open < o,
                within=NOTICED_WITHIN,
                what=f"the end of a connection after {size} bytes",
            )
            self._count("cut command", 1)
        self.traffic.flows(BACK_WITHIN)

    @contextmanager
    def _struck(self, name: str) -> Generator[None]:
        """Silence the network at a moment when jobs run; publishes are then under way."""
        while True:
            eventually(lambda: hits.a_job_runs(self.crew), within=30.0, what="a running job")
            self.proxy.silent = True
            moment = time.monotonic()
            eventually(self.traffic.is_under_way, what="publishers that wait for the server")
            if jobs := self.traffic.was_hit(moment):
                break
            self.proxy.silent = False
        self._count(name, jobs)
        yield
        self.proxy.silent = False

    def _count(self, name: str, hit: int) -> None:
        self.hits[name] = self.hits.get(name, 0) + hit
