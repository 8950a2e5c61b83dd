"""A server that is killed while jobs come and go, and started again."""

import time
from dataclasses import dataclass

import hits
from crew import Crew
from traffic import Traffic

from mindtrace.jobs.testing.waiting import eventually

BACK_WITHIN = 60.0
"""Seconds after the server within which everybody works again, by themselves."""


@dataclass(slots=True)
class Outage:
    """Traffic, and a server that dies under it."""

    crew: Crew
    traffic: Traffic
    rounds: int
    slowest: float = 0.0

    def run(self) -> None:
        """Kill and start again, then let all jobs come to their end."""
        self.traffic.begin()
        for number in range(self.rounds):
            self.strike()
            if number % 2:  # else it is back before everybody has noticed
                self._wait_for_despair()
            self.crew.server.start()
            self.slowest = max(self.slowest, self.traffic.flows(BACK_WITHIN))
            self.traffic.catch_up()

    def strike(self) -> None:
        """Freeze the server at a moment when jobs run and publishes are under way, then kill it."""
        server = self.crew.server
        while True:
            eventually(lambda: hits.a_job_runs(self.crew), within=20.0, what="a running job")
            server.freeze()
            moment = time.monotonic()
            eventually(self.traffic.is_under_way, what="publishers that wait for the server")
            if self.traffic.was_hit(moment):
                break
            server.thaw()
        server.kill()

    def _wait_for_despair(self) -> None:
        """Wait until each publisher's call was given up once."""
        publishers = self.traffic.publishers
        before = {each.pid: len(each.lines("away")) for each in publishers}
        for each in publishers:
            each.wait_for("away", before[each.pid] + 1, within=30.0)

    def check(self) -> None:
        """Assert that both sides were hit each time."""
        assert self.traffic.hit_jobs >= self.rounds
        assert self.traffic.hit_publishes >= self.rounds * len(self.traffic.publishers)
        assert self.rounds == 1 or all(each.lines("away") for each in self.traffic.publishers)
