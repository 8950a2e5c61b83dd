"""Other queues on SQLite beside ours, in the same run and at the same `synchronous`.

They are installed by uv into an environment of its own, never into the workspace.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tools.benchmarks.children import Child
from tools.benchmarks.contestants import FILL_AT_ONCE, Contestant
from tools.benchmarks.ours import Ours
from tools.benchmarks.payload import texts
from tools.benchmarks.report import Row, rates
from tools.benchmarks.settings import Settings, SkippedError
from tools.benchmarks.throughput import one_by_one
from tools.benchmarks.turns import take_turns
from tools.commands import ROOT, run, uv

PINNED = ("litequeue==0.9", "persist-queue==1.1.0", "huey==3.5.4")
SERVER = ROOT / "tools" / "benchmarks" / "peer_server.py"


class Peer:
    """A contestant in the peers' process. It begins each turn with an empty file.

    Jobs that it finished stay in its tables, and some look through them at each take.
    """

    def __init__(self, name: str, server: Child, settings: Settings, folder: Path) -> None:
        self.name = name
        self._server = server
        self._settings = settings
        self._folder = folder
        self._files = 0
        self.empty()

    def publish(self, count: int) -> float:
        """Add jobs, one call each."""
        return self._ask(do="publish", count=count)

    publish_many = publish

    def consume(self, count: int) -> float:
        """Take jobs, decode and acknowledge them."""
        return self._ask(do="consume", count=count)

    def empty(self) -> None:
        """Go on with a new file."""
        self._files += 1
        folder = str(self._folder / f"{self.name.replace(' ', '-')}-{self._files}")
        self._ask(do="open", folder=folder, synchronous=self._settings.synchronous)

    def close(self) -> None:
        """Do nothing: all ends with the process."""

    def _ask(self, **order: Any) -> Any:
        return ask(self._server, peer=self.name, **order)


class Fresh:
    """Ours under the same rule: each turn begins with an empty file."""

    name = Ours.name

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._files = 0
        self._ours: Ours
        self._open()

    def publish(self, count: int) -> float:
        """Publish inputs, one call each."""
        return self._ours.publish(count)

    def publish_many(self, count: int) -> float:
        """Publish inputs, many a call."""
        return self._ours.publish_many(count)

    def consume(self, count: int) -> float:
        """Consume jobs."""
        return self._ours.consume(count)

    def empty(self) -> None:
        """Go on with a new file."""
        self.close()
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._ours.close()

    def _open(self) -> None:
        self._files += 1
        self._ours = Ours(self._folder / f"ours-{self._files}", self._settings.synchronous)


def ask(server: Child, **order: Any) -> Any:
    """Give the peers' process an order and return its answer."""
    server.say(json.dumps(order))
    return json.loads(server.hear())


def peers(settings: Settings) -> Iterator[Row]:
    """Publish and consume, each peer in turn with ours."""
    if not settings.peers:
        raise SkippedError("--no-peers")
    count = one_by_one(settings)

    def publish(contestant: Contestant) -> float:
        contestant.empty()
        return contestant.publish(count)

    def consume(contestant: Contestant) -> float:
        contestant.empty()
        contestant.publish_many(count)
        return contestant.consume(count)

    with ExitStack() as stack:
        command = installed()
        folder = stack.enter_context(settings.new_folder())
        server = stack.enter_context(Child(command))
        names = ask(server, do="begin", texts=texts(FILL_AT_ONCE))
        ours = Fresh(settings, folder)
        stack.callback(ours.close)
        others = [Peer(name, server, settings, folder) for name in names]
        for what, work, bar in (("publish", publish, 1.0), ("consume", consume, 2.0)):
            mine, *theirs = take_turns((ours, *others), work, settings.rounds)
            for (name, version), seconds in zip(names.items(), theirs, strict=True):
                measure = f"{what}, against {name} {version}"
                yield rates(measure, count, mine, seconds, who=name, bar=bar)


def installed() -> list[str]:
    """Return the command of the peers' process, once their packages are there.

    Raises:
        SkippedError: they cannot be installed.
    """
    command = [uv(), "run", "--no-project", "--isolated", "--quiet", "--python", sys.executable]
    for package in PINNED:
        command += ["--with", package]
    try:
        tried = run(*command, "python", "-c", "import huey, litequeue, persistqueue")
    except OSError as error:
        raise SkippedError(f"uv cannot be started: {error.strerror}") from error
    if tried.returncode != 0:
        said = tried.stderr.strip().splitlines()
        raise SkippedError(f"they cannot be installed: {said[-1] if said else 'uv said nothing'}")
    return [*command, "python", str(SERVER)]
