"""`Workers`: several processes that serve on the same port, started anew when they die."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from mindtrace.core.log import get_logger
from mindtrace.services.child import Child, end_together
from mindtrace.services.framing import Report

if TYPE_CHECKING:
    import socket

    from mindtrace.services.ending import Ending
    from mindtrace.services.framing import Order, Reporter

_log = get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a worker that died is started anew: doubled each time, up to the longest, and the
first again after one that lived for longer than that."""


@dataclass
class _Place:
    """The place of one worker: who has it, since when, and when it is to be filled again."""

    child: Child | None = None
    since: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


class Workers:
    """The processes of one service. One that ends by itself, as `/shutdown` makes it, ends all."""

    def __init__(
        self,
        order: Order,
        payload: bytes,
        listening: list[socket.socket],
        report: Reporter,
        ending: Ending,
    ) -> None:
        url = order.url_at(listening[0].getsockname()[1])
        descriptors = [each.fileno() for each in listening]
        self._order = replace(order, url=url, workers=1, sockets=descriptors, detached=False)
        self._payload = payload
        self._listening = listening
        self._report = report
        self._ending = ending
        self._places = [_Place() for _ in range(order.workers)]
        self._is_ready = False
        self._stops = False
        self._failed = False
        # what wakes us: a report, an end, a signal. It alone may be used by a signal's handler.
        self._bell: SimpleQueue[None] = SimpleQueue()

    def run(self) -> int:
        """Serve until one stops by itself or a signal comes; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        self._ending.serves(self._stop)
        try:
            while not self._stops:
                self._look()
                self._listen()
        finally:
            for each in self._listening:
                each.close()
            end_together(each.child for each in self._places if each.child is not None)
        return int(self._failed)

    def _signalled(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if not self._stops:
            self._stops = True
            self._ending.begins()
        self._bell.put(None)

    def _fail(self, report: Report) -> None:
        self._report(report)
        self._failed = True
        self._stop()

    def _listen(self) -> None:
        """Wait until something happens, or a worker is due."""
        due = [each.due for each in self._places if each.child is None]
        pause = max(0.0, min(due) - monotonic()) if due else None
        with contextlib.suppress(Empty):
            self._bell.get(timeout=pause)

    def _look(self) -> None:
        """See that every place is filled."""
        for each in self._places:
            if each.child is not None and not each.child.is_alive:
                self._lost(each, each.child)
            if each.child is None and not self._stops and monotonic() >= each.due:
                self._fill(each)
        if not self._is_ready and not self._stops:
            self._tell_if_ready()

    def _fill(self, place: _Place) -> None:
        try:
            place.child = self._started()
        except (OSError, RuntimeError) as error:
            if not self._is_ready:
                self._fail(Report(problem=f"no process could be started ({error})"))
                return
            _log.error("No worker could be started: %s", error)
            self._wait_with(place)
        place.since = monotonic()

    def _started(self) -> Child:
        return Child(
            self._order,
            self._payload,
            ["--worker-of", self._order.url],
            shares=tuple(self._order.sockets),
            notify=lambda: self._bell.put(None),
        )

    def _lost(self, place: _Place, child: Child) -> None:
        place.child = None
        code = child.process.returncode
        if not self._is_ready:
            self._fail(child.report(0) or Report(problem="a worker did not start"))
        elif code == 0:
            self._stop()
        else:
            _log.error("A worker process died with code %d", code)
            if monotonic() - place.since > LONGEST_PAUSE:
                place.pause = FIRST_PAUSE
            self._wait_with(place)

    def _wait_with(self, place: _Place) -> None:
        place.due = monotonic() + place.pause
        place.pause = min(2 * place.pause, LONGEST_PAUSE)

    def _tell_if_ready(self) -> None:
        reports = [each.child.report(0) for each in self._places if each.child is not None]
        if len(reports) == len(self._places) and all(each and each.url for each in reports):
            self._is_ready = True
            assert reports[0] is not None
            self._report(reports[0])
