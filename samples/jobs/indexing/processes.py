"""Consumer processes: started together, stopped together, and gone when their parent is."""

import multiprocessing
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Thread

from mindtrace.jobs import Consumer

CTRL_C = {signal.SIGINT}
Make = Callable[[Path], Consumer]


class Processes:
    """Those of some processes that still run."""

    def __init__(self, processes: list[BaseProcess]) -> None:
        self._running = {process.sentinel: process for process in processes}

    def __len__(self) -> int:
        return len(self._running)

    def ended(self, within: float) -> list[str]:
        """Wait for an end, so many seconds at most, and tell which ended and how."""
        ready = wait(list(self._running), within)
        gone = [self._running.pop(each) for each in list(self._running) if each in ready]
        return [f"{process.name} ended early ({_ending(process)})" for process in gone]


def _ending(process: BaseProcess) -> str:
    process.join()
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextmanager
def consumer_processes(count: int, make: Make, state: Path) -> Generator[Processes]:
    """Run processes that consume beside the block; at its end they finish the jobs in hand.

    Each process calls `make(state)` for its consumer.
    """
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    processes: list[BaseProcess] = [
        spawn.Process(target=_consume, args=(make, state, theirs), name=f"Consumer {number}")
        for number in range(1, count + 1)
    ]
    resource_tracker.ensure_running()  # or the first start() would do it, and let Ctrl-C through
    signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)  # a new process inherits this
    for process in processes:
        process.start()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CTRL_C)
        yield Processes(processes)
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one is for the consumers
        ours.close()
        for process in processes:
            process.join()
        signal.signal(signal.SIGINT, before)


def _consume(make: Make, state: Path, parent: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until consume() handles it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CTRL_C)
    consumer = make(state)
    Thread(target=_stop_with, args=(parent, consumer), daemon=True).start()
    consumer.consume()


def _stop_with(parent: Connection, consumer: Consumer) -> None:
    """Stop when the parent closes its end of the pipe, or dies."""
    with suppress(EOFError):
        parent.recv()
    while True:  # again and again, for consume() may not have begun yet
        consumer.stop()
        Event().wait(0.1)
