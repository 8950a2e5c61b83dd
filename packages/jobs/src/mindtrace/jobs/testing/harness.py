"""A store under test, and the few things a test does to it that a user cannot.

An author of a backend writes one `Harness`: how to open a client, how time passes, how holders die.
Everything else (`queue`, `take`, `counts`, ...) is shorthand for calls of the `Store` protocol.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, cast

from mindtrace.core.clock import ManualClock
from mindtrace.jobs import LocalClient
from mindtrace.jobs.backend import Capabilities, Delivery, Entry, Failure, QueueSpec, Settlement
from mindtrace.jobs.ids import new_job_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mindtrace.jobs import OrchestratorBackend
    from mindtrace.jobs.backend import Holder, JobRecord, QueueOptions, QueueType, Store

START = 1_700_000_000.0
"""The moment at which a test's own clock begins."""

FAILURE = Failure("failed", "builtins.ValueError", "the handler raised", "Traceback: ...")


class Counts(NamedTuple):
    """What `QueueStats` counts."""

    ready: int = 0
    delayed: int = 0
    leased: int = 0
    dead: int = 0


class Harness(ABC):
    """One fresh place for jobs, and power over time and death in it.

    Attributes:
        client: a ready client.
        beat: real seconds that a second of a test takes. 1 where time is moved by hand or by an
            offset; less where it must really pass (then 10 seconds of a test are short).
        patience: seconds to wait for something that should come. 0 where a look is exact.
        notice: seconds of the test's time that `crash` lets pass.
        lateness: real seconds that a due job may start late with an idle consumer.
        url: how another process reaches the same place; None if none can.
    """

    client: OrchestratorBackend
    beat: float = 1.0
    patience: float = 0.0
    notice: float = 2.0
    lateness: float = 0.1
    url: str | None = None

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._holders: list[tuple[object, Holder]] = []

    @abstractmethod
    def open(self) -> OrchestratorBackend:
        """Return another client of the same place, as another process would have it."""

    @abstractmethod
    def open_real(self) -> OrchestratorBackend:
        """Return a client of a place of this kind where time is the machine's own."""

    @abstractmethod
    def open_unusable(self) -> OrchestratorBackend:
        """Return a client whose place cannot be reached or written."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Let so many seconds of the test's time pass."""

    @abstractmethod
    def kill(self, holder: Holder) -> None:
        """Let a holder vanish without settling, as SIGKILL or a pulled cable does."""

    @abstractmethod
    def close(self) -> None:
        """End every client and remove the place."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, holder in self._holders:
            holder.close()
        self.close()

    @property
    def store(self) -> Store:
        """The store of the ready client."""
        return self.client.store

    @property
    def capabilities(self) -> Capabilities:
        """What the store says it can do."""
        return self.store.capabilities

    def crash(self, whose: Holder | OrchestratorBackend) -> None:
        """Kill a holder, or all holders of a client, and let the time pass until it is noticed."""
        for client, holder in list(self._holders):
            if whose is holder or whose is client:
                self._holders.remove((client, holder))
                self.kill(holder)
        self.advance(self.notice)

    def elapsed(self) -> float | None:
        """Return the seconds of the test's time since it began; None where only `advance` counts.

        For places where time really passes: the model machine follows it.
        """
        return None

    def unique(self, name: str) -> str:
        """Return a name that nothing else here has."""
        return f"{name}-{next(self._numbers)}"

    def span(self, seconds: float) -> float:
        """Return the seconds to tell the store for so many seconds of the test's time."""
        return seconds * self.beat

    def queue(
        self,
        queue_type: QueueType | None = None,
        options: QueueOptions | None = None,
        client: OrchestratorBackend | None = None,
    ) -> str:
        """Declare a fresh queue and return its name."""
        name = self.unique(f"the {queue_type or 'plain'} queue")
        (client or self.client).store.declare_queue(QueueSpec(name, queue_type, options))
        return name

    def publish(self, queue: str, count: int = 1, **facts: float | str | None) -> list[str]:
        """Publish so many jobs, one by one, and return their ids; facts as in `Entry`."""
        return [self.store.publish(queue, [entry(None, **facts)])[0] for _ in range(count)]

    def holder(self, client: OrchestratorBackend | None = None) -> Holder:
        """Return a new holder, closed when the test ends."""
        owner = client or self.client
        holder = owner.store.holder()
        self._holders.append((owner, holder))
        return holder

    def take(self, holder: Holder, queue: str, limit: int = 1) -> list[Delivery]:
        """Receive up to `limit` jobs in one call."""
        return holder.receive([queue], limit=limit, wait=self.patience).deliveries

    def take_one(self, holder: Holder, queue: str) -> Delivery:
        """Receive the one job that must be there."""
        deliveries = self.take(holder, queue)
        assert len(deliveries) == 1, f"expected one delivery, found {len(deliveries)}"
        return deliveries[0]

    def take_all(self, holder: Holder, queue: str, limit: int = 1) -> list[Delivery]:
        """Receive, `limit` at a time, until nothing comes any more."""
        found: list[Delivery] = []
        while deliveries := self.take(holder, queue, limit):
            found += deliveries
        return found

    def counts(self, queue: str) -> Counts:
        """Count the jobs of a queue by state."""
        found = self.store.stats(queue)
        return Counts(found.ready, found.delayed, found.leased, found.dead)

    def record(self, job_id: str) -> JobRecord:
        """Return the record of a job that must have one."""
        found = self.store.record(job_id)
        assert found is not None, f"nothing is known of job {job_id}"
        return found


def entry(job_id: str | None = None, **facts: float | str | None) -> Entry:
    """Return an entry with a fresh id and an empty body, but for the facts given."""
    return Entry(**{"id": job_id or new_job_id(), "body": "{}", **facts})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def ack(delivery: Delivery, result: str | None = None) -> Settlement:
    """Say that a delivery was completed."""
    return Settlement(delivery, "ack", result=result)


def nack(delivery: Delivery, delay: float = 0.0) -> Settlement:
    """Say that the handler failed and the job is to run again."""
    return Settlement(delivery, "nack", delay=delay, attempts=delivery.attempts + 1)


def reject(delivery: Delivery, failure: Failure = FAILURE) -> Settlement:
    """Say that the handler failed for good."""
    return Settlement(delivery, "reject", attempts=delivery.attempts + 1, failure=failure)


def release(delivery: Delivery) -> Settlement:
    """Give a delivery back unstarted."""
    return Settlement(delivery, "release")


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the job ids in the order given."""
    return [each.id for each in deliveries]


class _Mortal(Protocol):
    """A local holder: it can die in a test as its process would."""

    def abandon(self) -> None: ...


class _Watchful(Protocol):
    """A local store: it looks for dead holders when it is told to."""

    def reap(self) -> bool: ...


class _LocalHarness(Harness):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(START)
        self._clients: list[OrchestratorBackend] = []

    def advance(self, seconds: float) -> None:
        """Move the clock by hand."""
        self.clock.advance(seconds)

    def kill(self, holder: Holder) -> None:
        """Let go of the kernel lock and write nothing, as the end of a process does."""
        cast("_Mortal", holder).abandon()

    def crash(self, whose: Holder | OrchestratorBackend) -> None:
        """Kill, and look for the dead at once: every waiting consumer does within two seconds.

        Those seconds are real ones, which moving the clock by hand does not let pass.
        """
        super().crash(whose)
        cast("_Watchful", self.store).reap()

    def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.close()

    def _opened(self, client: OrchestratorBackend) -> OrchestratorBackend:
        self._clients.append(client)
        return client


class LocalHarness(_LocalHarness):
    """The local store on files in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.client = self.open()
        self.url = f"sqlite:///{folder / 'jobs'}"

    def open(self) -> OrchestratorBackend:
        """Open the same files again, with connections of its own."""
        return self._opened(LocalClient(self.folder / "jobs", clock=self.clock))

    def open_real(self) -> OrchestratorBackend:
        """Open other files, in real time."""
        return self._opened(LocalClient(self.folder / "real"))

    def open_unusable(self) -> OrchestratorBackend:
        """Open a folder that cannot exist: its parent is a file."""
        parent = self.folder / "a file"
        parent.touch()
        return self._opened(LocalClient(parent / "jobs", clock=self.clock))


class MemoryHarness(_LocalHarness):
    """The local store in memory, which only its own process can see."""

    def __init__(self) -> None:
        super().__init__()
        self.client = self._opened(LocalClient.in_memory(clock=self.clock))

    def open(self) -> OrchestratorBackend:
        """Return the one client there is: nothing else reaches its memory."""
        return self.client

    def open_real(self) -> OrchestratorBackend:
        """Return a fresh memory, in real time."""
        return self._opened(LocalClient.in_memory())

    def open_unusable(self) -> OrchestratorBackend:
        """Return a client that was closed: memory is always there otherwise."""
        client = self.open_real()
        client.close()
        return client
