"""The contract and the machine are themselves tested: planted bugs must be caught.

A bug is a trigger in the database of a local store, or a few overridden methods. Each rule's tests
run here as plain functions, against a store that has one bug.
"""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mindtrace.jobs.backend import (
    QUEUE_TYPES,
    Delivery,
    QueueOptions,
    QueueType,
    Reception,
    Settlement,
    StoredJob,
)
from mindtrace.jobs.errors import DuplicateJobError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.local.holder import LocalHolder
from mindtrace.jobs.local.moving import LocalInlet, LocalOutlet
from mindtrace.jobs.local.store import LocalStore
from mindtrace.jobs.testing import InProcessContract, MemoryHarness
from mindtrace.jobs.testing.machine import machine_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mindtrace.jobs.backend import Entry, QueueSpec, QueueStats


class Store(LocalStore):
    """A local store whose holders, outlets and inlets can be of another class."""

    holder_class: type[LocalHolder] = LocalHolder
    outlet_class: type[LocalOutlet] = LocalOutlet
    inlet_class: type[LocalInlet] = LocalInlet

    def outlet(self, queue: str) -> LocalOutlet:
        made = super().outlet(queue)
        made.__class__ = self.outlet_class
        return made

    def inlet(self, queue: str) -> LocalInlet:
        made = super().inlet(queue)
        made.__class__ = self.inlet_class
        return made

    def holder(self) -> LocalHolder:
        held = super().holder()
        # not a second one: an object that goes away gives up its hold
        held.__class__ = self.holder_class
        return held


class Holder(LocalHolder):
    """A local holder whose settlements pass through `mend`, those of a receive included."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        mended = [self.mend(each) for each in settlements]
        refused = super().settle(mended)
        stale: list[Settlement] = []
        for given, new in zip(settlements, mended, strict=True):
            if new in refused:
                refused.remove(new)
                stale.append(given)
        return self.after(settlements, stale)

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        stale = self.settle(settlements)
        brought = super().receive(queues, limit=limit, wait=wait)
        return Reception(self.handed_out(brought.deliveries, queues), stale)

    def mend(self, settlement: Settlement) -> Settlement:
        return settlement

    def after(self, settlements: Sequence[Settlement], stale: list[Settlement]) -> list[Settlement]:
        return stale

    def handed_out(self, deliveries: list[Delivery], queues: Sequence[str]) -> list[Delivery]:
        return deliveries

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with self._store.database.writing() as c:
            return c.execute(statement, values).fetchall()


class AcceptsLateAcks(Holder):
    def after(self, settlements: Sequence[Settlement], stale: list[Settlement]) -> list[Settlement]:
        for each in stale:
            if each.verdict == "ack":
                self.sql("delete from jobs where seq = ?", each.delivery.entry)
        return [each for each in stale if each.verdict != "ack"]


class SaysLateSettlesWereFine(Holder):
    def after(self, settlements: Sequence[Settlement], stale: list[Settlement]) -> list[Settlement]:
        return []


class IgnoresTheNumber(Holder):
    def mend(self, settlement: Settlement) -> Settlement:
        delivery = settlement.delivery
        found = self.sql("select delivery from jobs where seq = ?", delivery.entry)
        number = found[0][0] if found else delivery.delivery
        return settlement._replace(delivery=delivery._replace(delivery=number))


class KeepsTheNumberValidAfterADelayedNack(Holder):
    def mend(self, settlement: Settlement) -> Settlement:
        delivery = settlement.delivery
        self.sql(
            "update jobs set state = 2 where seq = ? and delivery = ? and state = 1",
            delivery.entry,
            delivery.delivery,
        )
        return settlement


class CountsReleasesAsLost(Holder):
    def after(self, settlements: Sequence[Settlement], stale: list[Settlement]) -> list[Settlement]:
        for each in settlements:
            if each.verdict == "release" and each not in stale:
                self.sql("update jobs set lost = lost + 1 where seq = ?", each.delivery.entry)
        return stale


class IgnoresThePauseOfANack(Holder):
    def mend(self, settlement: Settlement) -> Settlement:
        return settlement._replace(delay=0.0)


class HandsLostJobsOutInBatches(Holder):
    def handed_out(self, deliveries: list[Delivery], queues: Sequence[str]) -> list[Delivery]:
        if deliveries and deliveries[0].lost:
            deliveries += LocalHolder.receive(self, queues, limit=1, wait=0).deliveries
        return deliveries


class AlwaysBeginsWithTheFirstQueue(Holder):
    def handed_out(self, deliveries: list[Delivery], queues: Sequence[str]) -> list[Delivery]:
        self._turn = 0
        return deliveries


class RecordsLateProgress(Holder):
    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        self.sql("update jobs set progress = '[1.0, 2.0]' where seq = ?", delivery.entry)


class PurgesLeasedJobs(Store):
    def purge(self, name: str) -> int:
        with self.database.writing() as c:
            c.execute("delete from jobs where state = 2")
        return super().purge(name)


class PurgesTheDead(Store):
    def purge(self, name: str) -> int:
        super().discard_dead(name, None)
        return super().purge(name)


class LosesWhatItRequeues(Store):
    def requeue_dead(self, queue: str, job_ids: Sequence[str] | None) -> int:
        return super().discard_dead(queue, job_ids)


class _Publishes(Store):
    def change(self, entry: Entry) -> Entry:
        return entry

    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        return super().publish(queue, [self.change(each) for each in entries])


class IgnoresDelays(_Publishes):
    def change(self, entry: Entry) -> Entry:
        return entry._replace(delay=0.0)


class IgnoresDedupKeys(_Publishes):
    def change(self, entry: Entry) -> Entry:
        return entry._replace(dedup_key=None)


class IgnoresTheTimeOfDedupKeys(_Publishes):
    def change(self, entry: Entry) -> Entry:
        return entry._replace(dedup_ttl=0.0)


class IgnoresTimesToLive(_Publishes):
    def change(self, entry: Entry) -> Entry:
        return entry._replace(ttl=None)


class TakesTheIdsOfDeadJobs(Store):
    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        try:
            return super().publish(queue, entries)
        except DuplicateJobError:
            return [each.id for each in entries]


class PublishesHalfABatch(Store):
    def publish(self, queue: str, entries: Sequence[Entry]) -> list[str]:
        return [super(PublishesHalfABatch, self).publish(queue, [each])[0] for each in entries]


class HandsOutTheOldestOfAStack(Store):
    def rows(self, names: Sequence[str], *, fresh: bool = False) -> list[Any]:
        return [
            row._replace(queue_type="fifo") if row.queue_type == "stack" else row
            for row in super().rows(names, fresh=fresh)
        ]


class LosesWhatADeadHolderHeld(Store):
    def lose(self, slot: int) -> bool:
        with self.database.writing() as c:
            c.execute("delete from jobs where holder = ? and state = 2", (slot,))
        return super().lose(slot)


class AllowsOneDeliveryMore(Store):
    def declare_queue(self, spec: QueueSpec) -> bool:
        options = spec.options or QueueOptions()
        more = replace(options, max_deliveries=options.max_deliveries + 1)
        return super().declare_queue(replace(spec, options=more))


class CountsLeasedJobsAsReady(Store):
    def stats(self, name: str) -> QueueStats:
        found = super().stats(name)
        return replace(found, ready=found.ready + found.leased, leased=0)


class TakesWhatIsHeld(LocalOutlet):
    def take(self, limit: int) -> list[StoredJob]:
        self._sql("update jobs set state = 0 where state = 2")
        return super().take(limit)

    def _sql(self, statement: str, *values: Any) -> None:
        with self._store.database.writing() as c:
            c.execute(statement, values)


class LeavesTheDead(LocalOutlet):
    def take(self, limit: int) -> list[StoredJob]:
        return [job for job in super().take(limit) if job.state is not JobState.DEAD]


class TakesTheSameAgain(LocalOutlet):
    _repeats = 3  # for ever, it would be noticed by its time alone

    def take(self, limit: int) -> list[StoredJob]:
        found = super().take(limit)
        if self._last_seq % 3 == 2 and self._repeats:
            self._repeats -= 1
            self._last_seq -= 1
        return found


class RemovesWhatWasReceived(TakesWhatIsHeld):
    def take(self, limit: int) -> list[StoredJob]:
        return LocalOutlet.take(self, limit)

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        for job in jobs:
            self._sql("delete from jobs where seq = ?", job.entry)
        return []


class RemovesWhatWasReleased(TakesWhatIsHeld):
    def take(self, limit: int) -> list[StoredJob]:
        return LocalOutlet.take(self, limit)

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        for job in jobs:
            self._sql("update jobs set delivery = ? where seq = ?", job.delivery, job.entry)
        return super().remove(jobs)


class _Brings(LocalInlet):
    def change(self, job: StoredJob) -> StoredJob:
        return job

    def add(self, jobs: Sequence[StoredJob]) -> None:
        super().add([self.change(job) for job in jobs])


class ForgetsTheCounters(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        return job._replace(attempts=0, lost=0)


class BeginsTheNumbersAgain(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        return job._replace(delivery=0)


class BeginsTheDelayAgain(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        now = self._store.now()
        return job._replace(due_at=job.due_at and now + 30, published_at=now)


class ForgetsTheTimeToLive(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        return job._replace(expires_at=None)


class ForgetsThePriority(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        return job._replace(priority=0)


class LetsTheDeadDieNow(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        return job._replace(died_at=self._store.now())


class RevivesTheDead(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        return job._replace(state=JobState.READY) if job.state is JobState.DEAD else job


class BringsInTheOppositeOrder(LocalInlet):
    def add(self, jobs: Sequence[StoredJob]) -> None:
        super().add(jobs[::-1])


class BringsInHalfABatch(LocalInlet):
    def add(self, jobs: Sequence[StoredJob]) -> None:
        for job in jobs:
            super().add([job])


class AddsAgain(_Brings):
    def change(self, job: StoredJob) -> StoredJob:
        with self._store.database.writing() as c:
            c.execute("update jobs set id = id || ' (the first)' where id = ?", (job.id,))
        return job


class TakesBackWhatRuns(LocalInlet):
    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        with self._store.database.writing() as c:
            c.executemany("delete from jobs where id = ?", [(job.id,) for job in jobs])
        return []


class StealsUnasked(Holder):
    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        return super().claim(queue, job_ids, steal=True)


class ClaimsBeforeTheTime(Holder):
    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        self.sql("update jobs set state = 0 where state = 1")
        return super().claim(queue, job_ids, steal=steal)


class StealsWithoutCounting(Holder):
    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        if steal:
            self.sql("update jobs set state = 0, holder = null where state = 2")
        return super().claim(queue, job_ids, steal=steal)


class ClaimsInAnyQueue(Holder):
    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        row = self._store.row(queue)
        for job_id in job_ids:
            self.sql("update jobs set queue = ? where id = ?", row.queue, job_id)
        return super().claim(queue, job_ids, steal=steal)


def moving(
    outlet: type[LocalOutlet] = LocalOutlet, inlet: type[LocalInlet] = LocalInlet
) -> type[Store]:
    """Return a store that moves wrongly."""
    return type("Store", (Store,), {"outlet_class": outlet, "inlet_class": inlet})


def on_jobs(event: str, when: str, action: str) -> str:
    """Return a trigger that does something to each row of jobs that was just changed so."""
    return (
        f"create trigger planted after {event} on jobs when {when} "
        f"begin update jobs set {action} where seq = new.seq; end"
    )


REQUEUED = "old.state = 3 and new.state = 0"
CAME_BACK = "old.state = 2 and new.state = 0"


@dataclass(frozen=True)
class Bug:
    """A planted bug, and who must catch it.

    Attributes:
        store: the store that has it.
        holder: the holder that has it.
        trigger: what the database does wrong.
        contract: whether an example of the contract shows it.
        machine: whether the machine finds it.
        queue_type: the machine to begin with, where only that one can.
    """

    store: type[Store] = Store
    holder: type[LocalHolder] = LocalHolder
    trigger: str = ""
    contract: bool = True
    machine: bool = True
    queue_type: QueueType = "fifo"


BUGS: dict[str, Bug] = {
    "a late ack is accepted": Bug(holder=AcceptsLateAcks),
    "a late settle is not reported": Bug(holder=SaysLateSettlesWereFine),
    "the delivery number is ignored at settle": Bug(holder=IgnoresTheNumber),
    "the number stays valid after a delayed nack": Bug(holder=KeepsTheNumberValidAfterADelayedNack),
    "late progress is recorded": Bug(holder=RecordsLateProgress),
    "a release counts as lost": Bug(holder=CountsReleasesAsLost),
    "the pause of a nack is ignored": Bug(holder=IgnoresThePauseOfANack),
    "lost jobs travel in batches": Bug(holder=HandsLostJobsOutInBatches),
    "queues do not take turns": Bug(holder=AlwaysBeginsWithTheFirstQueue, machine=False),
    "a purge takes leased jobs": Bug(PurgesLeasedJobs),
    "a purge takes dead letters": Bug(PurgesTheDead),
    "a requeue loses the job": Bug(LosesWhatItRequeues),
    "a delay is ignored": Bug(IgnoresDelays),
    "a dedup key is ignored": Bug(IgnoresDedupKeys),
    "the time of a dedup key is ignored": Bug(IgnoresTheTimeOfDedupKeys),
    "a time to live is ignored": Bug(IgnoresTimesToLive),
    "the id of a dead job is taken": Bug(TakesTheIdsOfDeadJobs),
    "half a batch is published": Bug(PublishesHalfABatch),
    "a stack hands out its oldest": Bug(HandsOutTheOldestOfAStack, queue_type="stack"),
    "a dead holder's jobs are gone": Bug(LosesWhatADeadHolderHeld),
    "poison has one delivery more": Bug(AllowsOneDeliveryMore),
    "leased jobs are counted as ready": Bug(CountsLeasedJobsAsReady),
    "an attempt is not counted": Bug(
        trigger=on_jobs("update of attempts", "new.attempts > old.attempts", "attempts = 0")
    ),
    "a crash is not counted": Bug(
        trigger=on_jobs("update of lost", "new.lost > old.lost", "lost = old.lost")
    ),
    "ties in priority have no order": Bug(
        trigger=on_jobs("insert", "new.rank < 0", "rank = -100 * new.priority + new.seq * 37 % 11"),
        queue_type="priority",
    ),
    "low priorities come first": Bug(
        trigger=on_jobs("insert", "new.rank < 0", "rank = -new.rank"), queue_type="priority"
    ),
    "a requeue resets the delivery number": Bug(
        trigger=on_jobs("update of state", REQUEUED, "delivery = 0")
    ),
    "a requeue keeps the old counts": Bug(
        trigger=on_jobs("update", REQUEUED, "attempts = old.attempts, lost = old.lost")
    ),
    "a release lowers the delivery number": Bug(
        trigger=on_jobs("update of state", CAME_BACK, "delivery = new.delivery - 1")
    ),
    "what comes back goes to the end": Bug(
        trigger=on_jobs("update of state", CAME_BACK, "rank = new.rank + 1")
    ),
    "cancelling a leased job is ignored": Bug(
        trigger=on_jobs("update of cancel", "new.cancel = 1", "cancel = 0")
    ),
    "a move takes what is held": Bug(moving(TakesWhatIsHeld), machine=False),
    "a move leaves the dead": Bug(moving(LeavesTheDead), machine=False),
    "a move takes a job twice": Bug(moving(TakesTheSameAgain), machine=False),
    "a move removes what was received": Bug(moving(RemovesWhatWasReceived), machine=False),
    "a move removes what was released": Bug(moving(RemovesWhatWasReleased), machine=False),
    "a move forgets the counters": Bug(moving(inlet=ForgetsTheCounters), machine=False),
    "a move begins the numbers again": Bug(moving(inlet=BeginsTheNumbersAgain), machine=False),
    "a move begins the delay again": Bug(moving(inlet=BeginsTheDelayAgain), machine=False),
    "a move forgets the time to live": Bug(moving(inlet=ForgetsTheTimeToLive), machine=False),
    "a move forgets the priority": Bug(moving(inlet=ForgetsThePriority), machine=False),
    "a move changes the time of death": Bug(moving(inlet=LetsTheDeadDieNow), machine=False),
    "a move revives the dead": Bug(moving(inlet=RevivesTheDead), machine=False),
    "a move turns the order round": Bug(moving(inlet=BringsInTheOppositeOrder), machine=False),
    "a move brings in half a batch": Bug(moving(inlet=BringsInHalfABatch), machine=False),
    "a move adds a job again": Bug(moving(inlet=AddsAgain), machine=False),
    "a move takes back what runs": Bug(moving(inlet=TakesBackWhatRuns), machine=False),
    "a claim steals unasked": Bug(holder=StealsUnasked, machine=False),
    "a claim comes before the time": Bug(holder=ClaimsBeforeTheTime, machine=False),
    "a claim steals without counting": Bug(holder=StealsWithoutCounting, machine=False),
    "a claim looks into any queue": Bug(holder=ClaimsInAnyQueue, machine=False),
    "entries are used twice": Bug(
        trigger="create trigger planted after update on counter when new.high > 0 "
        "begin update counter set high = 0; end"
    ),
}


class SabotagedHarness(MemoryHarness):
    """The store in memory, with a bug."""

    def __init__(self, bug: Bug) -> None:
        super().__init__()
        store = bug.store(None, "normal", self.clock)
        store.holder_class = bug.holder
        if bug.trigger:
            with store.database.writing() as c:
                c.execute(bug.trigger)
        self.client.store.close()
        self.client.store = store


SOUND = Bug(holder=Holder)
"""No bug, but a holder that is made like those which have one."""

TAKES_REAL_TIME = "open_real"


def rules() -> dict[str, type]:
    return {name: kind for name, kind in vars(InProcessContract).items() if "TestRule" in name}


@cache
def cases() -> list[tuple[str, Callable[..., None]]]:
    """Return each test of the rules of the store with each of its parameters."""
    found: list[tuple[str, Callable[..., None]]] = []
    for rule, kind in sorted(rules().items()):
        if kind.__module__.endswith("running"):
            continue
        for name, test in vars(kind).items():
            if name.startswith("test_") and TAKES_REAL_TIME not in inspect.getsource(test):
                for values in parameters(test):
                    label = f"{rule}.{name}[{', '.join(map(str, values.values()))}]"
                    found.append((label, partial(test, kind(), **values)))
    return found


def parameters(test: Any) -> Iterator[dict[str, Any]]:
    """Yield the arguments that a test is parametrised with, in every combination."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    choices = [[(mark.args[0], value) for value in mark.args[1]] for mark in marks]
    for chosen in itertools.product(*choices):
        yield dict(chosen)


def broken_by(bug: Bug, chosen: list[tuple[str, Callable[..., None]]]) -> Iterator[str]:
    """Yield the names of the cases that fail."""
    for name, case in chosen:
        with SabotagedHarness(bug) as harness:
            try:
                case(harness=harness)
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - it was noticed
                yield name


@cache
def broken_without_a_bug() -> list[str]:
    return [name for sound in (Bug(), SOUND) for name in broken_by(sound, cases())]


def machine_finds(bug: Bug) -> str | None:
    """Return what the machine says of the bug, or None if it found nothing."""
    for queue_type in sorted(QUEUE_TYPES, key=lambda each: each != bug.queue_type):
        machine = machine_class(partial(SabotagedHarness, bug), queue_type)
        try:
            run_state_machine_as_test(machine, settings=SEARCH)
        except Exception as error:  # noqa: BLE001 - as above
            return f"{queue_type}: {error!r}"
    return None


SEARCH = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=True,
    # to find it is enough; the shortest way to it is nobody's interest here
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_without_a_bug_every_case_passes() -> None:
    assert broken_without_a_bug() == []


def test_at_least_ten_bugs_are_planted_and_each_has_a_catcher() -> None:
    assert len(BUGS) >= 10
    assert all(bug.contract or bug.machine for bug in BUGS.values())


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.contract])
def test_the_contract_catches(name: str) -> None:
    sound = [case for case in cases() if case[0] not in broken_without_a_bug()]

    assert next(broken_by(BUGS[name], sound), None) is not None


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.machine])
def test_the_machine_catches(name: str) -> None:
    assert machine_finds(BUGS[name]) is not None


def test_the_machine_finds_nothing_without_a_bug() -> None:
    assert machine_finds(SOUND) is None
