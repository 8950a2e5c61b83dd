"""A state machine that drives a store and the model side by side, and compares what they say.

One machine for each queue type: to draw the type would give each a third of the search. It looks at
the counts rarely, because looking can heal what is broken.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mindtrace.jobs.backend import (
    DeadRecord,
    Delivery,
    Entry,
    QueueOptions,
    QueueType,
    Settlement,
)
from mindtrace.jobs.errors import DuplicateJobError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.harness import FAILURE, Harness
from mindtrace.jobs.testing.model import Duplicate, Model, ModelJob

if TYPE_CHECKING:
    from collections.abc import Callable
    from unittest import TestCase

STRESS = bool(os.environ.get("MINDTRACE_STRESS"))
EXAMPLES = 10_000 if STRESS else 200
STEPS = 50
HOLDERS = 3
MAX_DELIVERIES = 2
LOOK_EVERY = 12
NEAR = 0.75
"""Seconds of a test around a moment in which a store that lives in real time is not judged."""

# Time moves in whole seconds and every span ends in a half: no two moments ever coincide, so that
# no store is judged by which side of an instant it rounds to.
SPANS = st.sampled_from((0.0, 0.0, 0.0, 2.5, 11.5))
LONGEST_SPAN = 21
STEPS_OF_TIME = st.sampled_from((1, 4, 15, 60))
IDS = st.integers(0, 5)
KEYS = st.integers(0, 1)
PRIORITIES = st.integers(0, 2)
HOLDER = st.integers(0, HOLDERS - 1)
LIMITS = st.integers(1, 4)
VERDICTS = st.sampled_from(("ack", "nack", "reject", "release"))
PLACES = st.integers(0, 30)

T = TypeVar("T")


class QueueMachine(RuleBasedStateMachine):
    """Publishes, receives, settles, crashes and administers one queue in every order there is."""

    queue_type: ClassVar[QueueType] = "fifo"

    def __init__(self) -> None:
        super().__init__()
        self.harness = self.new_harness()
        self.store = self.harness.store
        self.identity = self.harness.capabilities.job_identity
        self.exact = self.harness.capabilities.released_jobs_keep_their_place
        options = QueueOptions(max_deliveries=MAX_DELIVERIES)
        self.queue = self.harness.queue(self.queue_type, options)
        self.counts_exactly = self.harness.capabilities.exact_counts
        self.model = Model(self.queue_type, MAX_DELIVERIES, notices_at_once=self.counts_exactly)
        self.holders = [self.harness.holder() for _ in range(HOLDERS)]
        self.held: list[tuple[int, Delivery]] = []
        self.past: list[Delivery] = []
        self.names: dict[int | str, ModelJob] = {}
        self.bearers: dict[str, ModelJob] = {}
        self.reused: set[str] = set()
        self.keys = ["a", "b"]
        self.fresh = 0
        self.steps = 0

    def new_harness(self) -> Harness:
        """Return a harness for one example; it is closed after it."""
        raise NotImplementedError

    def _catch_up(self) -> None:
        """Where time really passes, tell the model, and let nothing be about to happen."""
        while (now := self.harness.elapsed()) is not None:
            self.model.advance(max(0.0, now - self.model.now))
            if all(abs(each - self.model.now) > NEAR for each in self.model.moments()):
                return
            self.harness.advance(NEAR)

    def _dead(self) -> list[DeadRecord]:
        """Return the dead letters, of which the model takes note."""
        found = self.store.dead_letters(self.queue, limit=1000, after=None)
        self.model.notice([each.delivery.id for each in found])
        return found

    # publishing

    @rule(
        number=IDS,
        priority=PRIORITIES,
        delay=SPANS,
        ttl=st.sampled_from((None, None, None, 20.5)),
        keep=st.sampled_from((None, 30.5)),
    )
    def publish(
        self, number: int, priority: int, delay: float, ttl: float | None, keep: float | None
    ) -> None:
        """Publish one job, often under an id that is taken."""
        # when a record of an expired job ends is not promised: it is made when somebody looks
        keep = None if ttl else keep
        self._publish([self._entry(number, priority=priority, delay=delay, ttl=ttl, keep=keep)])

    @rule(numbers=st.lists(IDS, min_size=2, max_size=4), priority=PRIORITIES, delay=SPANS)
    def publish_many(self, numbers: list[int], priority: int, delay: float) -> None:
        """Publish several at once, perhaps one twice; all or none."""
        self._publish([self._entry(each, priority=priority, delay=delay) for each in numbers])

    @precondition(lambda self: self.identity)
    @rule(
        keys=st.lists(KEYS, min_size=1, max_size=3),
        dedup_ttl=st.sampled_from((0.0, 18.5)),
        delay=SPANS,
    )
    def publish_with_a_key(self, keys: list[int], dedup_ttl: float, delay: float) -> None:
        """Publish under dedup keys, with fresh ids."""
        self._publish(
            [
                self._entry(
                    None,
                    delay=delay,
                    dedup_key=self.keys[each],
                    dedup_ttl=dedup_ttl,
                )
                for each in keys
            ]
        )

    def _entry(self, number: int | None, **facts: Any) -> Entry:
        self.fresh += 1
        own = f"x{self.fresh}" if number is None or not self.identity else str(number)
        return Entry(f"{self.queue}:{own}", "{}", **facts)

    def _publish(self, entries: list[Entry]) -> None:
        self._catch_up()
        try:
            expected = self.model.publish(entries)
        except Duplicate:
            expected = None
        span = self.harness.span
        scaled = [
            each._replace(
                delay=span(each.delay),
                ttl=None if each.ttl is None else span(each.ttl),
                keep=None if each.keep is None else span(each.keep),
                dedup_ttl=span(each.dedup_ttl),
            )
            for each in entries
        ]
        try:
            found = self.store.publish(self.queue, scaled)
        except DuplicateJobError:
            found = None
        assert found == expected
        for job_id in expected or ():
            job = self.model.jobs.get(job_id)  # a dedup key outlives the job that it names
            if job and self.bearers.setdefault(job_id, job) is not job:
                self.reused.add(job_id)

    # receiving and settling

    @rule(holder=HOLDER, limit=LIMITS)
    def receive(self, holder: int, limit: int) -> None:
        """Receive, and compare with what the model would hand out."""
        self._catch_up()
        brought = self.holders[holder].receive(
            [self.queue], limit=limit, wait=self.harness.patience
        )
        self._took(holder, limit, brought.deliveries)

    @precondition(lambda self: self.held)
    @rule(place=PLACES, verdict=VERDICTS, delay=SPANS)
    def settle(self, place: int, verdict: Any, delay: float) -> None:
        """End one delivery that is held."""
        holder, delivery = pick(self.held, place)
        self._settle(holder, [settlement(self.harness, delivery, verdict, delay)])

    @precondition(lambda self: self.held)
    @rule(place=PLACES, verdict=VERDICTS, limit=LIMITS, stale=st.booleans())
    def settle_and_receive(self, place: int, verdict: Any, limit: int, stale: bool) -> None:
        """End all that one holder has, and receive in the same call."""
        self._catch_up()
        holder, _ = pick(self.held, place)
        own = [delivery for other, delivery in self.held if other == holder]
        if stale and self.past:
            own.insert(place % (len(own) + 1), pick(self.past, place))
        settlements = [settlement(self.harness, each, verdict) for each in own]
        expected = self._expect(settlements)
        brought = self.holders[holder].receive(
            [self.queue], limit=limit, wait=self.harness.patience, settlements=settlements
        )
        assert by_name(brought.stale) == by_name(expected)
        self._took(holder, limit, brought.deliveries)

    @precondition(lambda self: self.past)
    @rule(place=PLACES, verdict=VERDICTS, kind=st.sampled_from(("any", "last", "rival")))
    def settle_late(self, place: int, verdict: Any, kind: str) -> None:
        """Settle what ended before: it must be refused.

        Most interesting are the last delivery of a job that nobody holds now, and a delivery of a
        job that somebody holds again.
        """
        chosen = self.past
        if kind == "last":
            chosen = [each for each in self.past if self.model.was_the_last(each)] or self.past
        if kind == "rival":
            held = {each.entry for _, each in self.held}
            chosen = [each for each in self.past if each.entry in held] or self.past
        holder = place % HOLDERS
        late = settlement(self.harness, pick(chosen, place), verdict)
        assert not self.model.holds(late.delivery)
        self._settle(holder, [late])
        self.holders[holder].progress(late.delivery, 1.0, 2.0)

    def _took(self, holder: int, limit: int, deliveries: list[Delivery]) -> None:
        if not self.counts_exactly:
            self._dead()
        expected = self.model.batch(limit)
        found = [each.id for each in deliveries]
        if self.exact:
            assert found == [each.entry.id for each in expected]
        else:
            self._took_in_some_order(expected, found)
        for each in deliveries:
            job = self.model.jobs[each.id]
            assert (each.attempts, each.lost) == (job.attempts, job.lost)
            assert each.priority == job.entry.priority
            assert each.delivery > job.delivery, "the delivery number fell"
            assert self.names.setdefault(each.entry, job) is job, "the entry's name was used before"
            assert job.name in (None, each.entry), "the entry changed its name"
            self.model.lease(each, holder)
            self.held.append((holder, each))

    def _took_in_some_order(self, expected: list[ModelJob], found: list[str]) -> None:
        """Differs by necessity: such a store promises a place only to jobs that were never out.

        One whose id was another job's before may come at the place that the other one had.
        """
        ready = {job.entry.id: job for job in self.model.ready()}
        assert bool(found) == bool(expected)
        assert set(found) <= ready.keys()
        assert len(found) == 1 or not any(ready[each].lost for each in found)
        pristine = [
            job_id for job_id, job in ready.items() if job.pristine and job_id not in self.reused
        ]
        came = [each for each in found if each in pristine]
        assert came == pristine[: len(came)]

    def _settle(self, holder: int, settlements: list[Settlement]) -> None:
        self._catch_up()
        expected = self._expect(settlements)
        assert by_name(self.holders[holder].settle(settlements)) == by_name(expected)

    def _expect(self, settlements: list[Settlement]) -> list[Settlement]:
        """Settle in the model; return what is stale."""
        stale = [
            each for each in settlements if not self.model.settle(unscaled(self.harness, each))
        ]
        self._sort_out()
        return stale

    def _sort_out(self) -> None:
        """Move deliveries that ended from `held` to `past`."""
        self.past += [each for _, each in self.held if not self.model.holds(each)]
        self.held = [each for each in self.held if self.model.holds(each[1])]
        del self.past[:-30]

    # death and time

    @precondition(lambda self: self.held)
    @rule(place=PLACES, politely=st.booleans())
    def lose(self, place: int, politely: bool) -> None:
        """Let a holder that holds something die, or close it; another takes its place."""
        holder, _ = pick(self.held, place)
        if politely:
            self.holders[holder].close()
            self.model.lose(holder)
        else:
            self.harness.crash(self.holders[holder])
            if self.harness.elapsed() is None:
                self.model.advance(self.harness.notice)
            else:
                self._catch_up()
            # what was to be cancelled ends, and its record begins, when somebody notices: now
            if any(each.cancelling and each.entry.keep for each in self.model.held_by(holder)):
                self.harness.counts(self.queue)
            self.model.lose(holder)
        self.holders[holder] = self.harness.holder()
        self._sort_out()

    @rule(seconds=STEPS_OF_TIME)
    def advance(self, seconds: float) -> None:
        """Let time pass; where it really does, no more than brings all that can come."""
        if self.harness.elapsed() is None:
            self.harness.advance(seconds)
            self.model.advance(seconds)
        else:
            self.harness.advance(min(seconds, LONGEST_SPAN))
            self._catch_up()

    # administering

    @precondition(lambda self: self.identity)
    @rule(place=PLACES)
    def cancel(self, place: int) -> None:
        """Cancel a job in any state, or one that is not there."""
        self._catch_up()
        known = [*self.model.jobs, f"{self.queue}:nobody"]
        job_id = pick(known, place)
        assert self.store.cancel(job_id) == self.model.cancel(job_id)

    @precondition(lambda self: self.model.dead)
    @rule(place=PLACES, all_of_them=st.booleans(), discard=st.booleans())
    def requeue_or_discard(self, place: int, all_of_them: bool, discard: bool) -> None:
        """Administer dead letters; ids that are none of them count for nothing."""
        self._catch_up()
        self._dead()
        chosen = None if all_of_them else [pick(self.model.dead, place), *list(self.model.jobs)[:1]]
        if discard:
            assert self.store.discard_dead(self.queue, chosen) == self.model.discard(chosen)
            return
        requeued = self.model.requeue(chosen)
        assert self.store.requeue_dead(self.queue, chosen) == len(requeued)
        for job in requeued:
            if job.entry.dedup_key in self.keys:
                # whether the key of a job that was dead counts again is not promised
                self.fresh += 1
                self.keys[self.keys.index(job.entry.dedup_key)] = f"key {self.fresh}"

    @rule(really=st.sampled_from((True, False, False)))
    def purge(self, really: bool) -> None:
        """Purge, not too often."""
        self._catch_up()
        if really:
            found, expected = self.store.purge(self.queue), self.model.purge()
            # where counts are not exact, jobs that expired behind others are among them
            assert found == expected or (found > expected and not self.counts_exactly)

    # comparing

    @invariant()
    def agrees_from_time_to_time(self) -> None:
        """Look, every few steps."""
        self.steps += 1
        if self.steps % LOOK_EVERY == 0:
            self.agrees()

    def agrees(self) -> None:
        """Compare all that can be seen: each job is in exactly one state, and counted there."""
        self._catch_up()
        if self.counts_exactly:
            assert self.harness.counts(self.queue) == self.model.counts()
        dead = self._dead()
        assert [each.delivery.id for each in dead] == self.model.dead
        for each in dead:
            job = self.model.jobs[each.delivery.id]
            poisoned = job.lost >= MAX_DELIVERIES
            assert (each.delivery.attempts, each.delivery.lost) == (job.attempts, job.lost)
            assert each.failure.reason == ("poison" if poisoned else "failed")
        if self.identity:
            for number in range(6):
                self._record_agrees(f"{self.queue}:{number}")

    def _record_agrees(self, job_id: str) -> None:
        found, job = self.store.record(job_id), self.model.jobs.get(job_id)
        if found is None or job is None:
            assert found is None
            assert job is None
            return
        # a store may call a due job delayed until somebody looks for it
        due = job.state == JobState.READY and found.state == JobState.DELAYED and job.due
        assert found.state == job.state or due
        assert (found.attempts, found.lost) == (job.attempts, job.lost)
        assert found.delivery == job.delivery
        assert found.progress is None

    def teardown(self) -> None:
        """Compare once more, then empty the queue: nothing was lost on the way."""
        try:
            if self.steps:
                self.agrees()
                self.advance(100)
                for _ in range(100):
                    self.receive(0, 3)
                    if not self.model.ready():
                        break
                self._settle(0, [settlement(self.harness, each, "ack") for _, each in self.held])
                self.agrees()
        finally:
            self.harness.__exit__(None, None, None)


def pick(values: list[T], place: int) -> T:
    """Return one of the values; hypothesis shrinks towards the first."""
    return values[place % len(values)]


def by_name(settlements: list[Settlement]) -> list[tuple[str, int]]:
    """Return settlements in an order that no store promises, to compare them as a whole."""
    return sorted((str(each.delivery.entry), each.delivery.delivery) for each in settlements)


def settlement(
    harness: Harness, delivery: Delivery, verdict: Any, delay: float = 0.0
) -> Settlement:
    """Return a settlement as the engine would make it."""
    failed = verdict in ("nack", "reject")
    return Settlement(
        delivery,
        verdict,
        result="1" if verdict == "ack" else None,
        delay=harness.span(delay) if verdict == "nack" else 0.0,
        attempts=delivery.attempts + failed,
        failure=FAILURE if verdict == "reject" else None,
    )


def unscaled(harness: Harness, each: Settlement) -> Settlement:
    """Return the settlement with its delay in the test's seconds."""
    return each._replace(delay=each.delay / harness.beat)


def machine_class(open_harness: Callable[[], Harness], queue_type: QueueType) -> type[QueueMachine]:
    """Return the machine of one queue type; `open_harness` is called for each example."""

    class Machine(QueueMachine):
        def new_harness(self) -> Harness:
            return open_harness()

    Machine.queue_type = queue_type
    Machine.__name__ = Machine.__qualname__ = f"{queue_type.title()}QueueMachine"
    return Machine


def machine_for(
    open_harness: Callable[[], Harness],
    queue_type: QueueType,
    *,
    examples: int = EXAMPLES,
    steps: int = STEPS,
) -> type[TestCase]:
    """Return a test case that searches one queue type; assign it to a name that begins with Test.

    Args:
        open_harness: called for each example; its harness is closed after it.
        queue_type: what kind of queue; never drawn.
        examples: how many runs.
        steps: how long each of them at most.
    """
    case = machine_class(open_harness, queue_type).TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    return case
