"""Starting, signalling and ending the processes of a test, from the test's side."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from journal import Journal, Line
from orders import Orders
from places import Place

from mindtrace.jobs import Orchestrator
from mindtrace.jobs.backend import QueueType
from mindtrace.jobs.testing.waiting import eventually
from tools.services.server import OwnServer

HERE = Path(__file__).parent
LEASE = 4.0
"""Seconds after which Redis gives the jobs of a vanished holder to others."""


class Nursery:
    """The process that workers are forked from, see `nursery.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE,
        )
        self._started: list[int] = []
        self._codes: dict[int, int] = {}
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:  # closes its input, which ends it and all of its workers
            pass

    def start(self, orders: Orders, errors: Path) -> int:
        """Start a worker and return its process id."""
        self._tell({"orders": orders.to_json(), "errors": str(errors)})
        while not self._started:
            self._listen(10.0)
        return self._started.pop()

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a worker; to one that has ended it does nothing."""
        self._tell({"signal": [pid, number]})

    def code(self, pid: int) -> int | None:
        """Return how a worker ended (minus the signal's number), or None while it lives."""
        self._listen(0.0)
        return self._codes.get(pid)

    def _tell(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self, wait: float) -> None:
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        while select.select([source], [], [], wait)[0]:
            chunk = os.read(source, 65536)
            assert chunk, f"the nursery ended with code {self._process.wait()}"
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            for text in whole:
                facts = json.loads(text)
                if "started" in facts:
                    self._started.append(facts["started"])
                    self._codes.pop(facts["started"], None)  # numbers of processes come round again
                else:
                    self._codes[facts["ended"]] = facts["code"]
            wait = 0.0


class Worker:
    """One started process."""

    def __init__(self, crew: "Crew", pid: int, orders: Orders, after: float) -> None:
        self.pid = pid
        self.orders = orders
        self._crew = crew
        self._after = after

    @property
    def code(self) -> int | None:
        """How it ended, minus the signal's number; None while it lives."""
        return self._crew.nursery.code(self.pid)

    def kill(self) -> float:
        """End it with SIGKILL, wait until it is gone, and return the moment of the kill."""
        moment = time.monotonic()
        self.send(signal.SIGKILL)
        assert self.ended() == -signal.SIGKILL
        return moment

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._crew.nursery.send(self.pid, number)

    def ended(self, *, within: float = 20.0) -> int:
        """Wait for its end and return its exit code."""
        try:
            eventually(lambda: self.code is not None, within=within, what=f"the end of {self.pid}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._crew.story()}") from None
        assert self.code is not None
        return self.code

    def lies_idle(self) -> None:
        """Wait until it has found nothing to do and blocks."""
        eventually(lambda: self.blocking > 0, what=f"an idle {self.pid}")

    @property
    def blocking(self) -> int:
        """How many of its threads wait for something to do."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/wchan")
        return sum("poll" in each.read_text() for each in tasks)

    def lines(self, phase: str | None = None) -> list[Line]:
        """Return what it wrote into the journal."""
        lines = self._crew.journal.lines(phase, self.pid)
        return [each for each in lines if each.at > self._after]

    def wait_for(self, phase: str, count: int = 1, *, within: float = 20.0) -> Line:
        """Wait until it wrote so many lines of a phase, and return the last of them."""
        try:
            eventually(
                lambda: len(self.lines(phase)) >= count or self.code is not None,
                within=within,
                what=f"{count} x {phase!r} of {self.pid}",
            )
            assert len(self.lines(phase)) >= count, f"{self.pid} ended with {self.code} before"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._crew.story()}") from None
        return self.lines(phase)[count - 1]


class Crew:
    """The workers of one test, with the place of their jobs and the journal they write.

    Attributes:
        folder: where the jobs are, on Local; files of the test lie beside it.
        place: where the jobs are, on a server.
        orchestrator: the test's own connection to them.
    """

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        *,
        place: Place | None = None,
        server: OwnServer | None = None,
    ) -> None:
        self.nursery = nursery
        self.folder = folder
        self.journal = Journal(folder.with_name("journal"))
        self._place = place
        self._server = server
        self.orchestrator = Orchestrator(self.place.open())
        self.workers: list[Worker] = []
        self._errors = folder.with_name("errors")

    @property
    def place(self) -> Place:
        """Where the jobs are."""
        return self._place or Place.folder(self.folder)

    @property
    def server(self) -> OwnServer:
        """The server, which the test may kill and must start again."""
        assert self._server is not None, "Local has no server"
        return self._server

    @property
    def name(self) -> str:
        """The name of the backend, for the test's own words."""
        return self.place.backend + (" with a ledger" if self.place.ledger else "")

    @property
    def knows_jobs(self) -> bool:
        """Whether the backend knows each job by its id, and so keeps one entry of each."""
        return self.orchestrator.backend.capabilities.job_identity

    def declare(self, queue: str = "work", kind: QueueType | None = None, **options: Any) -> None:
        """Declare a queue with a short lease, and with outcomes kept where that can be."""
        kept = {"keep_result": True} if self.knows_jobs else {}
        options = {"max_deliveries": 10_000, "lease": LEASE, **kept, **options}
        self.orchestrator.declare_queue(queue, kind, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            if worker.code is None:
                worker.kill()
        for line in self.journal.lines("child"):  # what handlers forked, which outlives workers
            with contextlib.suppress(ProcessLookupError):
                os.kill(line.facts["pid"], signal.SIGKILL)
        self.orchestrator.close()
        self.journal.close()

    def start(self, orders: Orders) -> Worker:
        """Start a worker on this crew's jobs."""
        place = orders.place or self.place
        orders = replace(orders, place=place, journal=str(self.journal.path))
        began = time.monotonic()
        worker = Worker(self, self.nursery.start(orders, self._errors), orders, began)
        self.workers.append(worker)
        return worker

    def consumer(self, **orders: Any) -> Worker:
        """Start a consumer and wait until it is about to consume."""
        worker = self.start(Orders(role="consume", **orders))
        worker.wait_for("ready")
        return worker

    def publisher(self, **orders: Any) -> Worker:
        """Start a patient publisher, which ends when `gate("publisher")` is opened."""
        until = str(self.gate("publisher"))
        return self.start(Orders(role="publish", patient=True, until=until, **orders))

    def gate(self, name: str = "gate") -> Path:
        """Return a file that is not there yet; making it lets those go on who wait for it."""
        return self.folder.with_name(name)

    def story(self, last: int = 40) -> str:
        """Return the end of the journal and of the workers' stderr, for a failed assert."""
        errors = self._errors.read_text()[-4000:] if self._errors.exists() else ""
        lines = "\n".join(str(each) for each in self.journal.lines()[-last:])
        return f"--- journal\n{lines}\n--- stderr\n{errors}"
