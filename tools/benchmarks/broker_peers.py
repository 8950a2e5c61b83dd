"""Other libraries on a server: each publishes in a process of its own, and its own worker consumes.

The rate of a worker is counted between the start of its first job and that of its last one, so
that nobody pays for the start of a process.
"""

import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Protocol

from tools.benchmarks.children import Child
from tools.benchmarks.contestants import FILL_AT_ONCE
from tools.benchmarks.environments import new_environment
from tools.benchmarks.libraries import Library, Worker
from tools.benchmarks.payload import texts
from tools.benchmarks.settings import Settings, SkippedError
from tools.benchmarks.workers import Report, SilentWorkerError, running

PATIENCE = 300.0
"""Seconds that a turn of a peer may take."""


class Names(Protocol):
    """Whoever lends prefixes on a server, and removes what has them."""

    settings: Settings
    url: str
    libraries: Sequence[Library]

    def new_names(self) -> AbstractContextManager[str]:
        """Lend a prefix for names; everything that has it is removed afterwards."""
        ...


class BrokerPeer:
    """A contestant on a server. It begins each turn with names that nobody has used."""

    def __init__(self, library: Library, names: Names, folder: Path) -> None:
        self.name = library.name
        self._library = library
        self._names = names
        self._folder = folder
        self._python = new_environment(folder / "environment", library.packages)
        self._turn = ExitStack()
        self._prefix = ""
        self._worker = library.workers[0]

    @property
    def label(self) -> str:
        """The library, its version, and how its worker is set."""
        return f"{self.name} {self._library.version} ({self._worker.how})"

    def choose(self, count: int) -> None:
        """Try every way to start the worker, and keep the fastest."""
        if len(self._library.workers) > 1:
            took = {worker: self._try(worker, count) for worker in self._library.workers}
            self._worker = min(took, key=lambda worker: took[worker])

    def _try(self, worker: Worker, count: int) -> float:
        self._worker = worker
        self.empty()
        self.fill(count)
        return self.consume(count)

    def publish(self, count: int) -> float:
        """Add jobs, one call each, and one more that is not timed."""
        command = [self._python, "-m", "tools.benchmarks.rivals.publish", self._library.module]
        with Child(command, self._environment(count)) as child:
            child.say(json.dumps(texts(FILL_AT_ONCE)))
            return float(child.hear(PATIENCE))

    publish_many = publish

    def fill(self, count: int) -> None:
        """Add jobs, one call each."""
        self.publish(count)

    def consume(self, count: int) -> float:
        """Start the worker; return the seconds that so many jobs took after the first one."""
        words = {"queue": self._prefix, "url": self._names.url}
        command = [word.format(**words) for word in self._worker.command]
        with closing(Report(self._report)) as report:
            environment = self._environment(count)
            log = self._folder / "worker.log"
            with running([self._python, "-m", *command], environment, log) as worker:
                try:
                    return report.seconds(worker, PATIENCE)
                except SilentWorkerError as error:
                    raise RuntimeError(f"{self.label}: {error}: {self._last_line(log)}") from error

    def _last_line(self, log: Path) -> str:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        # the address may hold a password
        return lines[-1].replace(self._names.url, "its server")

    def empty(self) -> None:
        """Go on with new names."""
        self.close()
        self._prefix = self._turn.enter_context(self._names.new_names())

    def close(self) -> None:
        """Remove everything from the server."""
        self._turn.close()

    @property
    def _report(self) -> Path:
        return self._folder / self._prefix

    def _environment(self, count: int) -> dict[str, str]:
        order = {
            "url": self._names.url,
            "prefix": self._prefix,
            "at_once": self._worker.at_once,
            "last": count,
            "report": str(self._report),
        }
        variables = dict(self._worker.variables)
        return os.environ | variables | {"MINDTRACE_BENCH_ORDER": json.dumps(order)}


def broker_peers(names: Names, count: int, stack: ExitStack) -> tuple[list[BrokerPeer], list[str]]:
    """Open the peers, and say for which reasons others are left out.

    Raises:
        SkippedError: none can take part.
    """
    peers: list[BrokerPeer] = []
    left_out: list[str] = []
    root = stack.enter_context(names.settings.new_folder())
    for library in names.libraries:
        folder = root / library.name
        folder.mkdir()
        try:
            peer = BrokerPeer(library, names, folder)
        except SkippedError as reason:
            left_out.append(f"{library.name}: {reason}")
            continue
        stack.callback(peer.close)
        peer.choose(count)
        peers.append(peer)
    if not peers:
        raise SkippedError("; ".join(left_out))
    return peers, left_out
