"""The lane of `async def` handlers: one event loop, many jobs at once, one hold on the store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from mindtrace.jobs.errors import BackendUnavailableError, QueueNotFoundError
from mindtrace.jobs.execution import LOOK_EVERY, Execution
from mindtrace.jobs.lane import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.jobs.backend import Delivery, Settlement, Store
    from mindtrace.jobs.lane import Plan

R = TypeVar("R")


class AsyncLane:
    """Runs up to `concurrency` jobs at a time on an event loop of its own thread.

    Blocking calls to the store happen in worker threads, so that the loop is never held up.
    """

    def __init__(self, store: Store, plan: Plan, concurrency: int) -> None:
        self._plan = plan
        self._concurrency = concurrency
        self._link = Link(store, plan)
        self._running: dict[asyncio.Task[Settlement], Execution] = {}
        self._done: list[Settlement] = []
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="mindtrace-async-lane")

    def wake(self) -> None:
        """Make the lane look at its stop flag; safe in a signal handler."""
        self._link.holder.wake()

    def run(self) -> None:
        """Fetch and run until the plan is done or says stop; then finish what is running."""
        try:
            asyncio.run(self._main())
        finally:
            self._pool.shutdown(wait=False)
            self._link.settle_at_last(self._done)
            self.let_go()

    def let_go(self) -> None:
        """Close the hold; what still runs counts as lost."""
        try:
            self._link.holder.close()
        except BackendUnavailableError as error:
            self._plan.logger.warning("%s What was held comes back by itself.", error)

    async def _main(self) -> None:
        watch = asyncio.create_task(self._cancel_when_asked())
        try:
            await self._loop()
        finally:
            # also after an error of a fetch: what runs may end
            while self._running:
                await self._collect()
            watch.cancel()

    async def _loop(self) -> None:
        plan = self._plan
        while not plan.stopping() and not self._is_over():
            free = self._concurrency - len(self._running)
            reserved = plan.quota.take(free, lambda: True) if free else 0
            if reserved == 0:
                if not self._running:
                    return
                await self._collect()
                continue
            deliveries = await self._fetch(reserved)
            plan.quota.give_back(reserved, len(deliveries or ()))
            for delivery in deliveries or ():
                execution = Execution(self._link.holder)
                run = plan.executor.execute_async(delivery, execution)
                self._running[asyncio.create_task(run)] = execution
            if deliveries is not None and not deliveries and not plan.block:
                if not self._running:
                    return
                await self._collect()

    async def _fetch(self, limit: int) -> list[Delivery] | None:
        """Fetch in a thread, and settle meanwhile whatever ends before a job comes."""
        outcomes, self._done = self._done, []
        fetch = asyncio.ensure_future(self._in_thread(self._link.exchange, limit, outcomes))
        while not fetch.done():
            pending: set[asyncio.Future[Any]] = {fetch, *self._running}
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if not fetch.done():
                self._gather()
                await self._settle_done()
        deliveries = None
        try:
            deliveries = await fetch
        except QueueNotFoundError:
            outcomes = []  # they are safe: this is told after the commit
            raise
        finally:
            if deliveries is None:
                self._done += outcomes
        return deliveries

    async def _collect(self) -> None:
        """Wait for a job to end and settle it."""
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self._gather()
        await self._settle_done()

    def _gather(self) -> None:
        for task in [each for each in self._running if each.done()]:
            self._running.pop(task)
            self._done.append(task.result())

    async def _settle_done(self) -> None:
        outcomes, self._done = self._done, []
        if outcomes and not await self._in_thread(self._link.settle, outcomes):
            self._done += outcomes

    async def _cancel_when_asked(self) -> None:
        """Cancel the tasks of jobs whose cancelling was asked for."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._running:
                continue
            try:
                asked = await self._in_thread(self._link.holder.cancelled)
            except BackendUnavailableError:
                continue  # the fetch beside us tells of it
            for task, execution in self._running.items():
                known = execution.was_cancelled  # once is enough: it may be cleaning up
                if execution.delivery is not None and execution.delivery.id in asked and not known:
                    execution.was_cancelled = True
                    task.cancel()

    def _in_thread(self, call: Callable[..., R], *arguments: object) -> asyncio.Future[R]:
        """Run a blocking call in a thread of this lane's own: handlers may use up the loop's."""
        return asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def _is_over(self) -> bool:
        return self._plan.until is not None and monotonic() >= self._plan.until
