"""The engine of a consumer: plans a `consume`, runs its lanes, and stops them.

Every backend's `XConsumerBackend` is a thin name for this one class.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from mindtrace.core import Mindtrace
from mindtrace.jobs.absence import Absence
from mindtrace.jobs.errors import BackendUnavailableError, QueueNotFoundError
from mindtrace.jobs.executor import Executor, Handler, QueueFacts, StopNow, facts_of
from mindtrace.jobs.lane import Lane, Plan
from mindtrace.jobs.prefetch import Quota, Window
from mindtrace.jobs.stopping import StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mindtrace.jobs.async_lane import AsyncLane
    from mindtrace.jobs.backend import Queue
    from mindtrace.jobs.orchestrator import Orchestrator

JOIN_SLICE = 0.2


class ConsumerBackend(Mindtrace):
    """Consumes queues of one orchestrator through one handler.

    Args:
        queue_name: the queue consumed unless `queues` says otherwise.
        owner: the orchestrator.
        handler: what runs the jobs: a callable that takes the job, or a `Handler`.
        prefetch_count: a fixed number of jobs to hold; None follows the measured run time.
        poll_timeout: accepted for older code; nothing polls.
    """

    def __init__(
        self,
        queue_name: str,
        owner: Orchestrator,
        handler: Callable[[Any], Any] | Handler | None = None,
        *,
        prefetch_count: int | None = None,
        poll_timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.queue_name = queue_name
        self.queues = [queue_name]
        self.orchestrator = owner
        self.poll_timeout = poll_timeout
        self._prefetch = prefetch_count
        self._handler = handler if isinstance(handler, Handler) or not handler else Handler(handler)
        self._stopping = False
        self.stopped = False
        self.declares = False
        """Whether `consume` declares the queue first: it could not be when this was made."""
        self._lanes: list[Lane | AsyncLane] = []
        self._main_lane: Lane | None = None
        self._joining = False

    def set_poll_timeout(self, timeout: float) -> None:
        """Accept a poll timeout, for older code; nothing polls."""
        self.poll_timeout = timeout

    def set_prefetch_count(self, count: int | None) -> None:
        """Hold a fixed number of jobs from the next `consume` on; None follows the run time."""
        self._prefetch = count

    def consume(
        self,
        num_messages: int | None = 0,
        *,
        queues: str | Sequence[str] | None = None,
        block: bool = True,
        timeout: float | None = None,
        concurrency: int = 1,
        prefetch: int | None = None,
    ) -> int:
        """Handle jobs and return how many; see `Consumer.consume`."""
        self._check(num_messages, concurrency, timeout)
        handler = self._needed_handler()
        quota = Quota(num_messages)
        until = None if timeout is None else monotonic() + timeout
        with StopSignals(self.stop, self._is_interruptible) as signals:
            try:
                known = self._known(until, waits=block)
                if known is None:
                    return 0
                names = self._names(queues, known)
                plan = Plan(
                    queues=names,
                    quota=quota,
                    until=until,
                    block=block,
                    stopping=self._is_stopping,
                    executor=Executor(handler, self._facts(handler, known), self.logger),
                    logger=self.logger,
                )
                window = self._window_size([known[name] for name in names], prefetch)
                self._run(handler, plan, window, concurrency, signals)
            except KeyboardInterrupt:
                self.logger.warning("Interrupted; the job in hand will run again.")
            except StopNow:
                self.logger.warning("Stopped by a second stop signal; the job in hand runs again.")
            else:
                if signals.at_once:
                    self.logger.warning("A second stop signal came when no handler ran.")
            finally:
                self._lanes, self._main_lane = [], None
                self.stopped = self._stopping
                self._stopping = False  # not before: a stop may come while this one starts
        return quota.handled

    def consume_until_empty(
        self,
        *,
        queues: str | Sequence[str] | None = None,
        block: bool = True,  # noqa: ARG002 - part of the older signature
        timeout: float | None = None,
        concurrency: int = 1,
        prefetch: int | None = None,
    ) -> int:
        """Handle jobs until none is ready, and return how many; see `Consumer`."""
        return self.consume(
            queues=queues, block=False, timeout=timeout, concurrency=concurrency, prefetch=prefetch
        )

    def process_message(self, message: object) -> bool:
        """Run the handler on a job dict without a queue, and tell whether it did not raise."""
        if not isinstance(message, dict):
            return False
        try:
            self._needed_handler().call(message)
        except Exception:
            self.logger.exception("process_message: the handler raised")
            return False
        return True

    def stop(self) -> None:
        """Make `consume` finish the jobs in hand and return; safe in a signal handler.

        Between two calls of `consume` it makes the next one return at once.
        """
        self._stopping = True
        for lane in self._lanes:
            lane.wake()

    def close(self) -> None:
        """Stop. The orchestrator's connection stays open, for it is shared."""
        self.stop()

    def _is_stopping(self) -> bool:
        return self._stopping

    def _is_interruptible(self) -> bool:
        """Tell whether the main thread is in a handler or waits for other threads."""
        return self._joining or (self._main_lane is not None and self._main_lane.is_in_handler)

    def _run(
        self,
        handler: Handler,
        plan: Plan,
        window: int | None,
        concurrency: int,
        signals: StopSignals,
    ) -> None:
        store = self.orchestrator.backend.store
        if handler.is_async:
            from mindtrace.jobs.async_lane import AsyncLane  # noqa: PLC0415 - asyncio is slow to load

            # an event loop of its own thread: a caller may be inside a running loop already
            self._in_threads([AsyncLane(store, plan, concurrency)], signals)
        elif concurrency > 1:
            lanes = [Lane(store, plan, Window(window)) for _ in range(concurrency)]
            self._in_threads(lanes, signals)
        else:
            lane = Lane(store, plan, Window(window))
            self._lanes, self._main_lane = [lane], lane
            lane.run()

    def _in_threads(self, lanes: Sequence[Lane | AsyncLane], signals: StopSignals) -> None:
        self._lanes = list(lanes)
        errors: list[BaseException] = []

        def run(lane: Lane | AsyncLane) -> None:
            try:
                lane.run()
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)
                self.stop()

        threads = [
            threading.Thread(target=run, args=(lane,), name=f"mindtrace-lane-{number}", daemon=True)
            for number, lane in enumerate(lanes)
        ]
        for thread in threads:
            thread.start()
        try:
            self._join(threads, signals)
        except (KeyboardInterrupt, StopNow):
            # threads cannot be ended: their jobs are let go, and what they still say is stale
            for lane in lanes:
                lane.let_go()
            raise
        if errors:
            raise errors[0]

    def _join(self, threads: list[threading.Thread], signals: StopSignals) -> None:
        self._joining = True
        try:
            if signals.at_once:  # it came while the threads were started
                raise StopNow
            for thread in threads:
                while thread.is_alive():
                    thread.join(JOIN_SLICE)
        finally:
            self._joining = False

    def _known(self, until: float | None, *, waits: bool) -> dict[str, Queue] | None:
        """Return the queues by name; a store that is away is waited for, as it is later on.

        None when it was told to stop meanwhile.
        """
        store = self.orchestrator.backend.store
        absence = Absence(store.backend, self.logger, self._is_stopping)
        while True:
            try:
                if self.declares:
                    self.orchestrator.ensure_queue(self.queue_name)
                    self.declares = False
                known = store.queues()
            except BackendUnavailableError as error:
                absence.lost(error)
                if self._stopping:
                    return None
                if not waits or (until is not None and monotonic() >= until):
                    raise
            else:
                absence.found()
                return known

    def _names(self, queues: str | Sequence[str] | None, known: dict[str, Queue]) -> list[str]:
        names = [queues] if isinstance(queues, str) else list(queues or self.queues)
        for name in names:
            if name not in known:
                raise QueueNotFoundError(name, known)
        return names

    def _window_size(self, queues: list[Queue], prefetch: int | None) -> int | None:
        """Return the number said, 1 where a priority queue takes part, else None: adaptive."""
        chosen = prefetch if prefetch is not None else self._prefetch
        if chosen is not None:
            return chosen
        return 1 if any(each.queue_type == "priority" for each in queues) else None

    def _facts(self, handler: Handler, known: dict[str, Queue]) -> Callable[[str], QueueFacts]:
        """Return what tells of a queue; as it is now, so that no look at the store ends a lane."""

        def facts(queue: str) -> QueueFacts:
            return facts_of(self.orchestrator.schema_of(queue), known[queue].options, handler)

        return facts

    def _needed_handler(self) -> Handler:
        if self._handler is None:
            message = "this consumer backend has no handler; connect a Consumer, or pass one"
            raise RuntimeError(message)
        return self._handler

    def _check(self, num_messages: int | None, concurrency: int, timeout: float | None) -> None:
        if num_messages is not None and num_messages < 0:
            message = f"num_messages is 0 (no limit) or more, not {num_messages!r}"
            raise ValueError(message)
        if concurrency < 1:
            message = f"concurrency is at least 1, not {concurrency!r}"
            raise ValueError(message)
        if timeout is not None and not timeout >= 0:
            message = f"timeout takes seconds that are not negative, not {timeout!r}"
            raise ValueError(message)
        if self._lanes:
            message = "this consumer is consuming already; use concurrency=, or another object"
            raise RuntimeError(message)
