"""Other queues on SQLite, in an environment of their own; runs as a script there.

Orders and answers are lines of JSON. Each peer is given a dict, as a program has it, writes it the
way it writes things and reads it again when it consumes: ours pays for the same. What a peer's
interface does not set is set on its connection.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol


class Peer(Protocol):
    """One call adds a job; one call takes a job, decodes and acknowledges it."""

    def put(self, value: dict[str, Any]) -> None:
        """Add a job."""
        ...

    def take(self) -> None:
        """Take a job, decode it, acknowledge it."""
        ...


class LiteQueue:
    """`put`; `pop`, then `done`. The pragma is set again on its connection, `conn`."""

    def __init__(self, folder: Path, level: str) -> None:
        self.queue: Any = import_module("litequeue").LiteQueue(folder / "litequeue.db")
        self.queue.conn.execute(f"pragma synchronous = {level}")

    def put(self, value: dict[str, Any]) -> None:
        """Add a job."""
        self.queue.put(json.dumps(value))

    def take(self) -> None:
        """Take a job, decode it, acknowledge it."""
        message = self.queue.pop()
        json.loads(message.data)
        self.queue.done(message.message_id)


class PersistQueue:
    """`SQLiteAckQueue`: `put`; `get`, then `ack`. The pragma is set on its `_putter`."""

    def __init__(self, folder: Path, level: str) -> None:
        self.queue: Any = import_module("persistqueue").SQLiteAckQueue(str(folder))
        self.queue._putter.execute(f"pragma synchronous = {level}")  # noqa: SLF001

    def put(self, value: dict[str, Any]) -> None:
        """Add a job, pickled as it does by itself."""
        self.queue.put(value)

    def take(self) -> None:
        """Take a job, decode it, acknowledge it."""
        self.queue.ack(self.queue.get(block=False))


class Huey:
    """A task on `SqliteHuey`: called; dequeued (which deletes it) and executed.

    The pragma is set on its storage's `conn`.
    """

    def __init__(self, folder: Path, level: str) -> None:
        self.huey: Any = import_module("huey").SqliteHuey(
            filename=str(folder / "huey.db"), results=False
        )
        self.huey.storage.conn.execute(f"pragma synchronous = {level}")
        self.task: Any = self.huey.task()(nothing)

    def put(self, value: dict[str, Any]) -> None:
        """Add a job."""
        self.task(value)

    def take(self) -> None:
        """Take a job, decode it and run it; it is gone already."""
        self.huey.dequeue().execute()


def nothing(value: dict[str, Any]) -> None:
    """Do nothing with a job."""


class HueyStorage:
    """`SqliteStorage` alone, without huey's tasks: `enqueue`; `dequeue`, which deletes."""

    def __init__(self, folder: Path, level: str) -> None:
        storage = import_module("huey.storage")
        self.storage: Any = storage.SqliteStorage(filename=str(folder / "huey.db"))
        self.storage.conn.execute(f"pragma synchronous = {level}")

    def put(self, value: dict[str, Any]) -> None:
        """Add a job."""
        self.storage.enqueue(json.dumps(value).encode())

    def take(self) -> None:
        """Take a job and decode it; it is gone already."""
        json.loads(self.storage.dequeue())


PEERS = {
    "litequeue": LiteQueue,
    "persist-queue": PersistQueue,
    "huey": Huey,
    "huey storage": HueyStorage,
}


def opened(order: dict[str, Any]) -> Peer:
    """Open a peer in a new folder."""
    folder = Path(order["folder"])
    folder.mkdir(parents=True)
    return PEERS[order["peer"]](folder, order["synchronous"])


def timed(peer: Peer, order: dict[str, Any], values: list[dict[str, Any]]) -> float:
    """Publish or consume so many jobs; return the seconds."""
    count = order["count"]
    chosen = list(islice(cycle(values), count))
    began = perf_counter()
    if order["do"] == "publish":
        for value in chosen:
            peer.put(value)
    else:
        for _ in range(count):
            peer.take()
    return perf_counter() - began


def main() -> None:
    """Obey until the standard input ends."""
    peers: dict[str, Peer] = {}
    values: list[dict[str, Any]] = []
    for line in sys.stdin:
        order = json.loads(line)
        answer: object = None
        if order["do"] == "begin":
            values = [json.loads(text) for text in order["texts"]]
            answer = {name: version(name.partition(" ")[0]) for name in PEERS}
        elif order["do"] == "open":
            peers[order["peer"]] = opened(order)
        else:
            answer = timed(peers[order["peer"]], order, values)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
