"""One lane of a consumer: fetch, hold, run, settle, in one thread and with one hold on the store.

A `consume` runs as many lanes as its concurrency says. Outcomes travel with the next fetch. While
a handler takes long, the `Watch` beside it gives back the jobs that have not begun and settles
those that are done.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mindtrace.jobs.absence import Absence
from mindtrace.jobs.backend import Delivery, Holder, Settlement, Store
from mindtrace.jobs.errors import (
    BackendUnavailableError,
    QueueNotFoundError,
    StaleDeliveryError,
)
from mindtrace.jobs.execution import Execution, current
from mindtrace.jobs.prefetch import HOLD_SECONDS, Quota, Window

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from mindtrace.jobs.executor import Executor

T = TypeVar("T")


def taken(items: deque[T]) -> list[T]:
    """Empty a deque that another thread may be emptying as well."""
    found: list[T] = []
    try:
        while True:
            found.append(items.popleft())
    except IndexError:
        return found


class Plan(NamedTuple):
    """What one `consume` was asked to do; shared by its lanes."""

    queues: Sequence[str]
    quota: Quota
    until: float | None
    """The monotonic moment to stop at; None for none."""
    block: bool
    stopping: Callable[[], bool]
    executor: Executor
    logger: logging.Logger


class Link:
    """A hold on the store that outlives the store's absence."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._absence = Absence(store.backend, plan.logger, plan.stopping)
        self.holder = self._hold()

    def _hold(self) -> Holder:
        while True:
            try:
                holder = self._store.holder()
            except BackendUnavailableError as error:
                self._absence.lost(error)
                if self._plan.stopping():
                    raise
            else:
                self._absence.found()
                return holder

    def exchange(self, limit: int, settlements: Sequence[Settlement]) -> list[Delivery] | None:
        """Settle and fetch; None when the store is away: nothing was settled, try again."""
        try:
            received = self.holder.receive(
                self._plan.queues, limit=limit, wait=self._wait(), settlements=settlements
            )
        except BackendUnavailableError as error:
            self._absence.lost(error)
            return None
        self._absence.found()
        self.tell_stale(received.stale)
        return received.deliveries

    def settle(self, settlements: Sequence[Settlement]) -> bool:
        """Settle; False when the store is away."""
        try:
            stale = self.holder.settle(settlements)
        except BackendUnavailableError as error:
            self._absence.lost(error)
            return False
        self._absence.found()
        self.tell_stale(stale)
        return True

    def settle_at_last(self, settlements: Sequence[Settlement]) -> None:
        """Settle before leaving; an absent store gets a last bounded number of chances."""
        for _ in range(5):
            if not settlements or self.settle(settlements):
                return
        self._plan.logger.warning(
            "%d outcomes could not be settled; those jobs will run again", len(settlements)
        )

    def tell_stale(self, stale: Sequence[Settlement]) -> None:
        """Log settles that were refused."""
        for each in stale:
            refused = StaleDeliveryError(each.delivery.id, each.delivery.delivery)
            self._plan.logger.warning("StaleDeliveryError: %s", refused)

    def _wait(self) -> float | None:
        if not self._plan.block or self._plan.stopping():
            return 0
        return None if self._plan.until is None else max(0.0, self._plan.until - monotonic())


class Lane:
    """Runs jobs one after the other until its plan is done."""

    def __init__(self, store: Store, plan: Plan, window: Window) -> None:
        self._plan = plan
        self._window = window
        self._link = Link(store, plan)
        self._waiting: deque[Delivery] = deque()
        self._done: deque[Settlement] = deque()
        self._watch: Watch | None = None
        self._execution = Execution(self._link.holder)
        self.began_at = 0.0

    @property
    def is_in_handler(self) -> bool:
        """Whether a handler runs, rather than our own code."""
        return self._execution.delivery is not None

    def wake(self) -> None:
        """Make the lane look at its stop flag; safe in a signal handler."""
        self._link.holder.wake()

    def run(self) -> None:
        """Fetch and run until the plan is done or says stop."""
        finished = False
        token = current.set(self._execution)
        try:
            self._loop()
            finished = True
        finally:
            self._execution.end()  # from here on a further stop signal must not interrupt
            current.reset(token)
            if self._watch is not None:
                self._watch.close()
            if finished:
                self._link.settle_at_last(taken(self._done))
            self.let_go()

    def let_go(self) -> None:
        """Close the hold. What has not begun is released; a job in hand counts as lost."""
        back = [Settlement(each, "release") for each in taken(self._waiting)]
        try:
            try:
                self._link.holder.settle([*taken(self._done), *back])
            finally:
                self._link.holder.close()
        except BackendUnavailableError as error:
            self._plan.logger.warning("%s What was held comes back by itself.", error)

    def _loop(self) -> None:
        plan = self._plan
        while not plan.stopping() and not self._is_over():
            reserved = plan.quota.take(self._window.limit, plan.stopping, self.relieve)
            if reserved == 0:
                return
            settlements = taken(self._done)
            deliveries = None
            try:
                deliveries = self._link.exchange(reserved, settlements)
            except QueueNotFoundError:
                settlements = []  # they are safe: this is told after the commit
                raise
            finally:
                if deliveries is None:
                    self._done.extendleft(reversed(settlements))
            count = len(deliveries or ())
            plan.quota.give_back(reserved - count, 0)  # others need not wait for this batch
            handled = self._run_batch(deliveries, reserved) if deliveries else 0
            plan.quota.give_back(count, handled)
            if deliveries is not None and not deliveries and not plan.block:
                return

    def _is_over(self) -> bool:
        return self._plan.until is not None and monotonic() >= self._plan.until

    def _run_batch(self, deliveries: list[Delivery], asked: int) -> int:
        """Run what was fetched; return how many were handled rather than given back.

        Where more than one was asked for, the store may hold more than it gave.
        """
        execute, stopping = self._plan.executor.execute, self._plan.stopping
        execution = self._execution
        waiting, done = self._waiting, self._done
        self.began_at = began_at = monotonic()
        waiting.extend(deliveries)
        if asked > 1:
            self._watched()
        handled = 0
        until = self._plan.until
        while waiting and not stopping() and (until is None or self.began_at < until):
            try:
                delivery = waiting.popleft()
            except IndexError:  # the watch was faster
                break
            done.append(execute(delivery, execution))
            self.began_at = monotonic()
            handled += 1
        if waiting:
            done.extend(Settlement(each, "release") for each in taken(waiting))
        self._execution.end()
        if self._watch is not None:
            self._watch.rest()
        size = sum(len(each.body) for each in deliveries)
        self._window.ran(self.began_at - began_at, handled, size / len(deliveries))
        return handled

    def _watched(self) -> None:
        if self._watch is None:
            self._watch = Watch(self)
        self._watch.begin()

    def relieve(self) -> None:
        """Give back and settle what can be: a handler takes long, or this lane has to wait."""
        settlements = taken(self._done)
        back = taken(self._waiting)
        settlements += [Settlement(each, "release") for each in back]
        try:
            # also without any: the store gives back what it holds ahead of the handlers
            self._link.tell_stale(self._link.holder.settle(settlements))
        except BackendUnavailableError:
            # the lane meets the same fault with these at its next fetch, and tells of it
            self._done.extend(settlements)


class Watch:
    """A thread beside a lane that holds several jobs: it relieves the lane when one takes long."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._busy = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mindtrace-watch", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """A batch begins."""
        self._busy.set()

    def rest(self) -> None:
        """The batch is done."""
        self._busy.clear()

    def close(self) -> None:
        """End the thread and wait for it."""
        self._closed.set()
        self._busy.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            if self._closed.wait(HOLD_SECONDS / 2):
                return
            if self._busy.is_set() and monotonic() - self._lane.began_at > HOLD_SECONDS:
                self._lane.relieve()
