"""The worker processes of the fault tests: consumers, publishers and racers."""

import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, cast

from handlers import AsyncDoer, Doer
from journal import Journal
from orders import Orders
from places import Place
from watching import Fate, WatchedStore

from mindtrace.jobs import (
    BackendUnavailableError,
    DuplicateJobError,
    Job,
    LocalClient,
    Orchestrator,
)

LINGER = 60.0
PAUSE = 0.005
"""Seconds for each job that a patient publisher waits, so that consumers can keep up with it."""


def work(orders: Orders) -> int:
    """Do as ordered and return the exit code."""
    journal = Journal(Path(orders.journal))
    logging.getLogger("mindtrace").addHandler(_ToJournal(journal))
    try:
        match orders.role:
            case "consume":
                _consume(orders, journal)
            case "publish":
                _publish(orders, journal)
            case "race":
                _race(orders, journal)
    except BackendUnavailableError as error:
        journal.write("error", text=str(error), transient=error.transient)
        return 3
    return 0


class _ToJournal(logging.Handler):
    """Takes the warnings of the package into the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.write("log", text=record.getMessage())


def _consume(orders: Orders, journal: Journal) -> None:
    client = _place(orders).open()
    fate = Fate(orders.die_at, orders.die_after)
    client.store = cast("Any", WatchedStore(client.store, journal, fate))
    orchestrator = Orchestrator(client)
    doer = (AsyncDoer if orders.mode == "async" else Doer)(journal, fate, orchestrator)
    doer.connect(orchestrator, orders.queues[0])
    concurrency = 1 if orders.mode == "plain" else orders.concurrency

    def consume() -> int:
        return doer.consume(
            queues=orders.queues,
            block=not orders.until_empty,
            concurrency=concurrency,
            prefetch=orders.prefetch,
        )

    with _own_handlers() if orders.own_handlers else contextlib.nullcontext():
        before = _signal_handlers()
        journal.write("ready")
        handled = _in_thread(consume) if orders.in_thread else consume()
        restored = _signal_handlers() == before
    journal.write("returned", handled=handled, restored=restored)
    if orders.linger:
        threading.Event().wait(LINGER)


def _signal_handlers() -> list[object]:
    return [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]


@contextlib.contextmanager
def _own_handlers() -> Generator[None]:
    def handle(_number: int, _frame: object) -> None: ...

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, handle)
    yield


def _in_thread(consume: Callable[[], int]) -> int:
    handled: list[int] = []
    thread = threading.Thread(target=lambda: handled.append(consume()))
    thread.start()
    thread.join()
    return handled[0]


def _place(orders: Orders) -> Place:
    assert orders.place is not None, "the crew says where"
    return orders.place


def _publish(orders: Orders, journal: Journal) -> None:
    """Publish batch after batch; say which before and after each."""
    orchestrator = Orchestrator(_place(orders).open())
    journal.write("ready")
    number = 0
    while number < orders.batches or not orders.batches:
        if orders.until and Path(orders.until).exists():
            break
        name = f"{os.getpid()}-{number}"
        payload = {"do": "work", "seconds": orders.seconds[number % len(orders.seconds)]}
        jobs = [
            Job(name="work", payload=payload, id=f"{name}-{place}") for place in range(orders.batch)
        ]
        journal.write("publishing", name, count=len(jobs))
        if orders.patient:
            _publish_patiently(orchestrator, orders.queues[0], jobs, journal)
            threading.Event().wait(PAUSE * orders.batch)
        else:
            orchestrator.publish_many(orders.queues[0], jobs)
        journal.write("published", name, count=len(jobs))
        number += 1
    orchestrator.close()


def _publish_patiently(
    orchestrator: Orchestrator, queue: str, jobs: Sequence[Job], journal: Journal
) -> None:
    """Publish the same jobs until that succeeds, as the docs tell users to."""
    while True:
        try:
            orchestrator.publish_many(queue, jobs)
        except BackendUnavailableError as error:
            if not error.transient:
                raise
            journal.write("away", text=str(error))
        except DuplicateJobError as error:
            # an earlier call did succeed, and the job has finished since
            journal.write("there already", error.job_id)
            if len(jobs) > 1:
                for each in jobs:
                    _publish_patiently(orchestrator, queue, [each], journal)
            return
        else:
            return


def _race(orders: Orders, journal: Journal) -> None:
    """Open each folder at the moment that its gate names, and declare a queue there."""
    journal.write("ready")
    for folder in orders.rounds:
        _start_at(Path(f"{folder}.gate"))
        client = LocalClient(folder)
        try:
            said = client.declare_queue(orders.queues[0])["message"]
        except Exception as error:  # noqa: BLE001 - any error at all is what the test looks for
            said = f"{type(error).__name__}: {error}"
        journal.write("said", folder, text=said)
        client.close()


def _start_at(gate: Path) -> None:
    while not gate.exists():
        threading.Event().wait(0.002)
    moment: float = json.loads(gate.read_text())
    while time.monotonic() < moment:
        pass  # spinning, so that all racers start within microseconds
