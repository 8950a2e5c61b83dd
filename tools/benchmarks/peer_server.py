"""Other queues on SQLite, in an environment of their own; runs as a script there.

Orders and answers are lines of JSON. Each peer gets JSON text and decodes it when it consumes. What
a peer's interface does not set is set on its connection.
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

    def put(self, text: str) -> None:
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

    def put(self, text: str) -> None:
        """Add a job."""
        self.queue.put(text)

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

    def put(self, text: str) -> None:
        """Add a job."""
        self.queue.put(text)

    def take(self) -> None:
        """Take a job, decode it, acknowledge it."""
        text = self.queue.get(block=False)
        json.loads(text)
        self.queue.ack(text)


class Huey:
    """`SqliteStorage` alone: `enqueue`; `dequeue`, which deletes. The pragma is set on `conn`."""

    def __init__(self, folder: Path, level: str) -> None:
        storage = import_module("huey.storage")
        self.storage: Any = storage.SqliteStorage(filename=str(folder / "huey.db"))
        self.storage.conn.execute(f"pragma synchronous = {level}")

    def put(self, text: str) -> None:
        """Add a job."""
        self.storage.enqueue(text.encode())

    def take(self) -> None:
        """Take a job and decode it; it is gone already."""
        json.loads(self.storage.dequeue())


PEERS = {"litequeue": LiteQueue, "persist-queue": PersistQueue, "huey": Huey}


def opened(order: dict[str, Any]) -> Peer:
    """Open a peer in a new folder."""
    folder = Path(order["folder"])
    folder.mkdir(parents=True)
    return PEERS[order["peer"]](folder, order["synchronous"])


def timed(peer: Peer, order: dict[str, Any], texts: list[str]) -> float:
    """Publish or consume so many jobs; return the seconds."""
    count = order["count"]
    chosen = list(islice(cycle(texts), count))
    began = perf_counter()
    if order["do"] == "publish":
        for text in chosen:
            peer.put(text)
    else:
        for _ in range(count):
            peer.take()
    return perf_counter() - began


def main() -> None:
    """Obey until the standard input ends."""
    peers: dict[str, Peer] = {}
    texts: list[str] = []
    for line in sys.stdin:
        order = json.loads(line)
        answer: object = None
        if order["do"] == "begin":
            texts = order["texts"]
            answer = {name: version(name) for name in PEERS}
        elif order["do"] == "open":
            peers[order["peer"]] = opened(order)
        else:
            answer = timed(peers[order["peer"]], order, texts)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
