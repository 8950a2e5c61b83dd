"""Two publishers and two consumers at work: what a fault is done to, and how it may strike."""

import signal
import time
from dataclasses import dataclass, field

import hits
import verdict
from crew import Crew, Worker
from orders import Orders
from places import Place

from mindtrace.jobs.testing.waiting import eventually

ENOUGH = 5
"""Jobs or batches that a worker gets through before anything more happens to it."""

FEW = 100
"""Jobs that may wait while nobody publishes."""


@dataclass(slots=True)
class Traffic:
    """Jobs that come and go: one at a time and in batches, in one thread and in several."""

    crew: Crew
    consumers: list[Worker] = field(default_factory=list[Worker])
    publishers: list[Worker] = field(default_factory=list[Worker])
    hit_jobs: int = 0
    hit_publishes: int = 0

    def begin(self, place: Place | None = None) -> None:
        """Start everybody."""
        self.crew.declare()
        self.consumers = [
            self.crew.start(Orders(role="consume", mode=mode, concurrency=2, place=place))
            for mode in ("plain", "threads")
        ]
        self.publishers = [
            self.crew.publisher(place=place, seconds=(0.0, 0.0, 0.0, 0.03)),
            self.crew.publisher(place=place, batch=20, seconds=(0.0, 0.0, 0.005)),
        ]
        self.flows()

    def flows(self, within: float = 60.0) -> float:
        """Wait until each worker has got something through; return the seconds that it took."""
        since = time.monotonic()

        def works(worker: Worker) -> bool:
            lines = worker.lines("settled") + worker.lines("published")
            return sum(each.at > since for each in lines) > ENOUGH or worker.code is not None

        for each in (*self.consumers, *self.publishers):
            left = max(0.0, since + within - time.monotonic())
            eventually(lambda each=each: works(each), within=left, what=f"work of {each.pid}")
            assert each.code is None, f"{each.pid} has ended with {each.code}: {self.crew.story()}"
        return time.monotonic() - since

    def catch_up(self) -> None:
        """Let the consumers work off what has piled up, while the publishers stand still."""
        for each in self.publishers:
            each.send(signal.SIGSTOP)
        try:
            eventually(
                lambda: verdict.left(self.crew, ("work",)) < FEW, within=60.0, what="less to do"
            )
        except AssertionError as error:
            found = self.crew.orchestrator.queue_stats("work")
            raise AssertionError(f"{error}; {found}; {self.crew.story(200)}") from None
        for each in self.publishers:
            each.send(signal.SIGCONT)

    def is_under_way(self) -> bool:
        """Tell whether every publisher is in a call of publish now."""
        return all(map(hits.publishes, self.publishers))

    def was_hit(self, moment: float) -> int:
        """Count the jobs that ran at a moment; 0 also if not all publishers are stuck by now."""
        lines = self.crew.journal.lines()
        jobs = hits.running_at(moment, lines)
        publishes = hits.publishing_at(time.monotonic(), lines)
        if len(publishes) < len(self.publishers) or not jobs:
            return 0
        self.hit_jobs += len(jobs)
        self.hit_publishes += len(publishes)
        return len(jobs)

    def end(self) -> None:
        """Let all jobs come to their end, and give the verdict."""
        self.crew.gate("publisher").touch()
        for each in self.publishers:
            assert each.ended(within=60.0) == 0, self.crew.story()
        published, begun = verdict.published(self.crew)
        assert published == begun
        verdict.come_to_rest(self.crew, published)
        verdict.check(self.crew, published)

    def summary(self) -> dict[str, object]:
        """Return what happened, in numbers."""
        journal = self.crew.journal
        return {
            "backend": self.crew.name,
            "jobs": len(verdict.published(self.crew)[0]),
            "running jobs hit": self.hit_jobs,
            "publishes hit": self.hit_publishes,
            "publishes repeated": sum(len(each.lines("away")) for each in self.publishers),
            "found there already": journal.count("there already"),
            "deliveries": journal.count("received"),
            "stale settles refused": journal.count("refused"),
            "completed twice": sum(n > 1 for n in verdict.completions(self.crew).values()),
        }
