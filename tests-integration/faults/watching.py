"""A store that tells the journal what passes through it, and can end its process at a set moment.

It stands between the engine and the real store, so that a kill lands exactly where it is meant to:
after a receive was committed and before anything else, or after a handler's effect and before the
settle. Nothing is replaced inside of the package.
"""

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from journal import Journal
from orders import Moment

from mindtrace.jobs import BackendUnavailableError
from mindtrace.jobs.backend import Holder, Reception, Settlement, Store


class Fate:
    """Kills its process when a moment comes for the so many-th time."""

    def __init__(self, moment: Moment, count: int) -> None:
        self._moment = moment
        self._left = count
        self._lock = threading.Lock()

    def meet(self, moment: Moment) -> None:
        """Say that a moment has come."""
        if moment != self._moment:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class WatchedStore:
    """A store whose holders are watched."""

    def __init__(self, store: Store, journal: Journal, fate: Fate) -> None:
        self._store = store
        self._journal = journal
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def holder(self) -> "WatchedHolder":
        """Return a watched holder."""
        return WatchedHolder(self._store.holder(), self._journal, self._fate)


class WatchedHolder:
    """A holder that tells what it received and which of its settles were accepted."""

    def __init__(self, holder: Holder, journal: Journal, fate: Fate) -> None:
        self._holder = holder
        self._journal = journal
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._holder, name)

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        """Pass on, and write down what became of it.

        What was settled is written when this returns, which may be long after the commit.
        """
        self._before(settlements)
        try:
            received = self._holder.receive(queues, limit=limit, wait=wait, settlements=settlements)
        except BackendUnavailableError as error:
            self._journal.write("away", reason=error.reason)
            raise
        self._after(settlements, received.stale)
        for each in received.deliveries:
            facts = {"entry": each.entry, "lost": each.lost, "queue": each.queue}
            self._journal.write(
                "received", each.id, each.delivery, together=len(received.deliveries), **facts
            )
        if received.deliveries:
            self._fate.meet("received")
        return received

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Pass on, and write down what became of it."""
        self._before(settlements)
        try:
            stale = self._holder.settle(settlements)
        except BackendUnavailableError as error:
            self._journal.write("away", reason=error.reason)
            raise
        self._after(settlements, stale)
        return stale

    def wake(self) -> None:
        """Pass on, and write down that it was asked for, which a stop does."""
        self._holder.wake()
        self._journal.write("woken")

    def _before(self, settlements: Sequence[Settlement]) -> None:
        if any(each.verdict == "ack" for each in settlements):
            self._fate.meet("effect")

    def _after(self, settlements: Sequence[Settlement], stale: Sequence[Settlement]) -> None:
        refused = {(each.delivery.entry, each.delivery.delivery) for each in stale}
        for each in settlements:
            held = each.delivery
            phase = "refused" if (held.entry, held.delivery) in refused else "settled"
            self._journal.write(
                phase, held.id, held.delivery, entry=held.entry, verdict=each.verdict
            )
