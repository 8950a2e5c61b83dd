"""Other queues on SQLite, at the same `synchronous` as ours."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mindtrace.jobs import LocalClient
from tools.benchmarks.children import Child
from tools.benchmarks.contestants import FILL_AT_ONCE
from tools.benchmarks.environments import new_environment
from tools.benchmarks.ours import Ours
from tools.benchmarks.payload import texts
from tools.benchmarks.settings import Settings
from tools.benchmarks.stage import Peers
from tools.commands import ROOT

PINNED = ("litequeue==0.9", "persist-queue==1.1.0", "huey==3.5.4")
SERVER = ROOT / "tools" / "benchmarks" / "peer_server.py"


class LocalPeer:
    """A contestant in the peers' process. It begins each turn with an empty file.

    Jobs that it finished stay in its tables, and some look through them at each take.
    """

    def __init__(
        self, name: str, version: str, server: Child, settings: Settings, folder: Path
    ) -> None:
        self.name = name
        self.label = f"{name} {version}"
        self._server = server
        self._settings = settings
        self._folder = folder
        self._files = 0
        self.empty()

    def publish(self, count: int) -> float:
        """Add jobs, one call each."""
        return self._ask(do="publish", count=count)

    publish_many = publish

    def fill(self, count: int) -> None:
        """Add jobs, one call each."""
        self.publish(count)

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

    def fill(self, count: int) -> None:
        """Publish inputs, many a call."""
        self._ours.fill(count)

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
        folder = self._folder / f"ours-{self._files}"
        self._ours = Ours(LocalClient(folder, durability=self._settings.synchronous))


def ask(server: Child, **order: Any) -> Any:
    """Give the peers' process an order and return its answer."""
    server.say(json.dumps(order))
    return json.loads(server.hear())


def local_peers(settings: Settings, stack: ExitStack) -> Peers:
    """Open the peers, all in one process, and ours.

    Raises:
        SkippedError: they cannot be installed.
    """
    folder = stack.enter_context(settings.new_folder())
    python = new_environment(folder / "environment", PINNED)
    server = stack.enter_context(Child([python, str(SERVER)]))
    names: dict[str, str] = ask(server, do="begin", texts=texts(FILL_AT_ONCE))
    ours = Fresh(settings, folder)
    stack.callback(ours.close)
    others = [LocalPeer(name, version, server, settings, folder) for name, version in names.items()]
    return Peers(ours, others, [])
