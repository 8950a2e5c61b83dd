"""A storm: consumers that are killed again and again while they work, and the verdict afterwards.

Planned kills land at the moment they are meant for, because the worker kills itself there (see
`watching.py`); the others come from outside at random; idle workers are killed between two waves of
jobs. Meanwhile a *ghost* settles dead deliveries once more, as a holder would that does not know
that it lost its jobs: each of these settles must be refused.
"""

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import verdict
from crew import Crew, Worker
from journal import Line
from orders import Mode, Moment

from mindtrace.jobs import Job, RetryPolicy
from mindtrace.jobs.backend import Delivery, Failure, QueueType, Settlement
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.waiting import pause

TICK = 0.005
VERDICTS: tuple[Literal["ack", "nack", "release", "reject"], ...] = (
    "ack", "nack", "release", "reject",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How bad the storm gets.

    Attributes:
        queues: the type of each queue by name.
        modes: how consumers run their handler; each draws one.
        waves: how many times jobs are published; each wave waits until the one before is done.
        jobs: how many jobs of each queue a wave has.
        failing: the share of jobs whose handler raises once or twice before it succeeds.
        planned: kills at each moment that a worker can choose.
        random: kills at a random time.
        idle: kills of workers that have nothing to do.
        crew: consumers at a time.
        patience: seconds without the effect of any job, until a storm is given up; how long it
            takes in all depends on the machine.
    """

    queues: dict[str, QueueType]
    modes: tuple[Mode, ...] = ("plain",)
    waves: int = 4
    jobs: int = 100
    failing: float = 0.0
    planned: int = 4
    random: int = 6
    idle: int = 3
    crew: int = 4
    patience: float = 60.0
    seed: int = 1


@dataclass(slots=True)
class Seat:
    """One place in the crew, taken by one worker after the other."""

    worker: Worker
    doomed_at: float | None = None
    """The moment to kill it at, counted from when it is ready."""
    ready_at: float | None = None


@dataclass(slots=True)
class Watch:
    """Notices that nothing has gone on for long."""

    crew: Crew
    patience: float
    effects: int = -1
    looked_at: float = 0.0
    moved_at: float = 0.0

    def look(self) -> None:
        """Raise if no job had an effect for too long; the journal is read once a second."""
        now = time.monotonic()
        if now < self.looked_at + 1.0:
            return
        self.looked_at = now
        effects = self.crew.journal.count("effect")
        if effects != self.effects:
            self.effects, self.moved_at = effects, now
        still = now - self.moved_at
        assert still < self.patience, f"nothing for {still:.0f} s: {self.crew.story()}"


@dataclass(slots=True)
class Storm:
    """One run: `blow` until all jobs are done and all kills have landed, then `check`."""

    crew: Crew
    forecast: Forecast
    published: dict[str, int] = field(default_factory=dict[str, int])
    """How often each job is to fail, by id."""
    dead: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    """Who was killed, and at which moments by the journal's account; a lane may be at each."""
    ghosts: list[Delivery] = field(default_factory=list[Delivery])
    refused: int = 0
    refused_while_leased: int = 0
    accepted: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def blow(self) -> None:
        """Publish in waves and kill, until nothing is left to do and nobody left to kill."""
        draw = random.Random(self.forecast.seed)
        fates = self._fates(draw)
        began = time.monotonic()
        self._declare()
        seats = [self._seat(draw, fates) for _ in range(self.forecast.crew)]
        ghost = self.crew.orchestrator.backend.store.holder()
        wave, idle, watch = 0, self.forecast.idle, Watch(self.crew, self.forecast.patience)
        while wave < self.forecast.waves or fates or idle or any(map(_doomed, seats)):
            wave += 1
            self._publish(draw)
            while not self._all_done():
                self._tick(seats, draw, fates)
                self._haunt(ghost)
                watch.look()
                pause(TICK)
            if idle and self._kill_idle(draw.choice(seats), fates):
                idle -= 1
        self._haunt(ghost)
        ghost.close()
        for seat in seats:
            self._end(seat)
        if not self.crew.orchestrator.backend.capabilities.exact_counts:
            # nobody can tell when the last settle was: one that was killed before comes back
            self.crew.consumer(queues=tuple(self.forecast.queues), until_empty=True).ended()
        self.seconds = time.monotonic() - began

    # the weather

    def _fates(self, draw: random.Random) -> list[Moment | None]:
        moments: tuple[Moment, ...] = ("received", "handler", "effect")
        fates: list[Moment | None] = [*moments * self.forecast.planned]
        fates += [None] * self.forecast.random
        draw.shuffle(fates)
        return fates

    def _seat(self, draw: random.Random, fates: list[Moment | None]) -> Seat:
        orders: dict[str, Any] = {
            "queues": tuple(self.forecast.queues),
            "mode": draw.choice(self.forecast.modes),
            "prefetch": draw.choice([None, None, 7]),
        }
        doomed_at = None
        if fates:
            moment = fates.pop()
            if moment is None:
                doomed_at = draw.uniform(0.0, 0.25)
            else:
                orders |= {"die_at": moment, "die_after": draw.randint(1, 5)}
        return Seat(self.crew.consumer(**orders), doomed_at)

    def _tick(self, seats: list[Seat], draw: random.Random, fates: list[Moment | None]) -> None:
        for place, seat in enumerate(seats):
            if seat.ready_at is None:
                seat.ready_at = time.monotonic()
            due = seat.doomed_at is not None and time.monotonic() > seat.ready_at + seat.doomed_at
            if due and seat.worker.code is None:
                seat.worker.send(signal.SIGKILL)
            if seat.worker.code is not None:
                assert seat.worker.code == -signal.SIGKILL, self.crew.story()
                self._bury(seat.worker)
                seats[place] = self._seat(draw, fates)

    def _kill_idle(self, seat: Seat, fates: list[Moment | None]) -> bool:
        """Kill a worker while nothing is left to do, and tell whether it was still there.

        Its place is filled at the next tick; the fate that it did not meet goes to another one.
        """
        if seat.worker.code is not None:
            return False
        seat.worker.kill()
        self.dead[seat.worker.pid] = {"idle"}
        if _doomed(seat):
            fates.append(None if seat.doomed_at is not None else seat.worker.orders.die_at)
        return True

    def _end(self, seat: Seat) -> None:
        seat.worker.send(signal.SIGTERM)
        code = seat.worker.ended()
        assert code in (0, -signal.SIGKILL), self.crew.story()

    def _bury(self, worker: Worker) -> None:
        """Find out what a dead worker was doing; its unsettled deliveries haunt the store."""
        if worker.pid in self.dead:
            return
        settled = {(each.job, each.delivery) for each in worker.lines("settled")}
        begun = {(each.job, each.delivery) for each in worker.lines("begin")}
        ended = {
            (each.job, each.delivery)
            for phase in ("effect", "failed")
            for each in worker.lines(phase)
        }
        held = {(each.job, each.delivery): each for each in worker.lines("received")}
        open_ = held.keys() - settled
        moments = {
            "received": open_ - begun,
            "handler": open_ & begun - ended,
            "effect": open_ & ended,
        }
        self.dead[worker.pid] = {name for name, hit in moments.items() if hit} or {"idle"}
        self.ghosts += [
            _delivery(held[key].job, held[key].delivery, held[key].facts) for key in sorted(open_)
        ]

    # the jobs

    def _declare(self) -> None:
        retry = RetryPolicy(max_attempts=5, backoff=0.02)
        for name, kind in self.forecast.queues.items():
            self.crew.declare(name, kind, retry=retry)

    def _publish(self, draw: random.Random) -> None:
        for queue, kind in self.forecast.queues.items():
            jobs = [self._job(queue, draw) for _ in range(self.forecast.jobs)]
            for priority in range(3):
                share = jobs[priority::3]
                options = {"priority": priority} if kind == "priority" else {}
                self.crew.orchestrator.publish_many(queue, share, **options)

    def _job(self, queue: str, draw: random.Random) -> Job:
        seconds = draw.choices([0.0, 0.002, 0.01, 0.15], [40, 35, 20, 5])[0]
        fail = draw.choice([1, 2]) if draw.random() < self.forecast.failing else 0
        job = Job(name=queue, payload={"do": "work", "seconds": seconds, "fail": fail})
        self.published[job.id] = fail
        return job

    def _all_done(self) -> bool:
        if verdict.left(self.crew, list(self.forecast.queues)):
            return False
        # plain RabbitMQ does not tell what others hold
        return self.crew.knows_jobs or self.published.keys() <= verdict.effects(self.crew)

    # the ghost

    def _haunt(self, ghost: Any) -> None:
        """Settle dead deliveries that the store knows to be lost by now."""
        waiting, self.ghosts = self.ghosts, []
        for dead in waiting:
            state = self._state_of(dead)
            if state == "held":
                self.ghosts.append(dead)  # nobody has noticed the death yet
                continue
            word = VERDICTS[self.refused % len(VERDICTS)]
            failure = Failure("failed", "Ghost", "a dead holder said so")
            settlement = Settlement(dead, word, result='"ghost"', attempts=99, failure=failure)
            if ghost.settle([settlement]):
                self.refused += 1
                self.refused_while_leased += state is JobState.LEASED
            else:
                self.accepted.append(f"{word} of delivery {dead.delivery} of {dead.id}")

    def _state_of(self, dead: Delivery) -> JobState | Literal["held"] | None:
        """Return what became of a job; "held" while the dead holder's delivery still counts."""
        if not self.crew.knows_jobs:
            return None
        record = self.crew.orchestrator.backend.store.record(dead.id)
        assert record is not None, f"nothing is known of {dead.id}"
        is_held = record.state is JobState.LEASED and record.delivery == dead.delivery
        return "held" if is_held else record.state

    # the verdict

    def check(self) -> None:
        """Assert that the storm was one, and that it left no trace but delivery numbers."""
        self._check_kills()
        assert not self.accepted, f"stale settles were accepted: {self.accepted}"
        assert self.refused > 0, "no stale settle was tried"
        self._check_journal()
        for name in self.forecast.queues:
            found = self.crew.orchestrator.queue_stats(name)
            assert (found.ready, found.delayed, found.leased, found.dead) == verdict.EMPTY
        if self.crew.knows_jobs:
            verdict.check_entries(self.crew)
            for job_id, fail in self.published.items():
                verdict.check_record(self.crew, job_id, attempts=fail)

    def _check_kills(self) -> None:
        kills = self._kills()
        for moment in ("received", "handler", "effect"):
            assert kills[moment] >= self.forecast.planned, f"kills landed as {kills}"
        assert kills["idle"] >= self.forecast.idle, f"kills landed as {kills}"

    def _kills(self) -> Counter[str]:
        return Counter(moment for moments in self.dead.values() for moment in moments)

    def _check_journal(self) -> None:
        journal = self.crew.journal
        assert journal.torn <= self.forecast.random
        effects = verdict.effects(self.crew)
        assert effects == self.published.keys(), "a job had no effect, or was not ours"
        mixed = [
            each
            for each in journal.lines("received")
            if each.facts["lost"] and each.facts["together"] > 1
        ]
        assert not mixed, f"a lost job did not come alone: {mixed}"
        refused = [each for each in journal.lines("refused") if not self._may_be_double(each.job)]
        assert not refused, f"a living holder lost its jobs: {refused}, {self._words(refused)}"
        verdict.check_deliveries(self.crew)

    def _may_be_double(self, job: str) -> bool:
        """Tell whether there may be two copies of a job: one outcome does for a process with both.

        Plain RabbitMQ only, after a crash.
        """
        if self.crew.knows_jobs:
            return False
        received = self.crew.journal.lines("received")
        return any(each.job == job and each.facts["lost"] for each in received)

    def _words(self, lines: list[Line]) -> list[str]:
        """Return what the writers of some lines had in their log before."""
        writers = {each.pid: each.at for each in lines}
        return [
            each.facts["text"]
            for each in self.crew.journal.lines("log")
            if each.at <= writers.get(each.pid, 0.0) and "attempt" not in each.facts["text"]
        ]

    def summary(self) -> dict[str, Any]:
        """Return what happened, in numbers."""
        journal = self.crew.journal
        received = journal.lines("received")
        return {
            "backend": self.crew.name,
            "seconds": round(self.seconds, 1),
            "jobs": len(self.published),
            "kills": len(self.dead),
            "kills by moment": dict(self._kills()),
            "deliveries": len(received),
            "of them after a loss": sum(bool(each.facts["lost"]) for each in received),
            "effects": journal.count("effect"),
            "completed twice": sum(n > 1 for n in verdict.completions(self.crew).values()),
            "stale settles refused": self.refused,
            "of them while leased anew": self.refused_while_leased,
            "stale settles accepted": len(self.accepted),
            "torn lines": journal.torn,
        }


def _doomed(seat: Seat) -> bool:
    return seat.doomed_at is not None or seat.worker.orders.die_at != "never"


def _delivery(job: str, delivery: int, facts: dict[str, Any]) -> Delivery:
    return Delivery(
        entry=facts["entry"],
        id=job,
        body="",
        delivery=delivery,
        attempts=0,
        lost=facts["lost"],
        priority=0,
        keep=60.0,
        queue=facts["queue"],
    )
