"""Small queue objects over the same store: `push`, `pop`, `qsize`, `empty`, `clean`."""

from __future__ import annotations

import json
import threading
from queue import Empty
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic_core import PydanticSerializationError, from_json, to_json

from mindtrace.jobs.backend import Delivery, Entry, QueueSpec, QueueType, Settlement
from mindtrace.jobs.errors import JobValidationError
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.local.store import LocalStore
from mindtrace.jobs.publishing import check_priority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mindtrace.jobs.local.client import LocalClient
    from mindtrace.jobs.local.holder import LocalHolder


class LocalQueue:
    """A first-in, first-out queue of JSON values. Thread-safe.

    `pop` takes and removes in one step: an item that was popped is gone, whatever happens next.

    Args:
        name: the queue's name in the client's store.
        client: where it lives; by default in memory, each object its own queue.
    """

    queue_type: ClassVar[QueueType] = "fifo"

    def __init__(self, name: str = "queue", client: LocalClient | None = None) -> None:
        self.name = name
        self._store = LocalStore(None) if client is None else client.store
        self._store.declare_queue(QueueSpec(name, self.queue_type))
        self._holders = threading.local()

    def push(self, item: Any) -> None:
        """Append an item; it is safe when this returns.

        Raises:
            JobValidationError: the item has no JSON form.
        """
        self._push(item, 0)

    def pop(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """Remove and return the next item.

        Raises:
            queue.Empty: there is none (within `timeout` seconds when blocking).
        """
        wait = timeout if block else 0
        holder = self._holder()
        found = holder.receive([self.name], limit=1, wait=wait).deliveries
        if not found:
            raise Empty
        holder.settle([Settlement(found[0], "ack")])
        return from_json(found[0].body)

    def qsize(self) -> int:
        """Return how many items wait."""
        return self._store.stats(self.name).ready

    def empty(self) -> bool:
        """Tell whether no item waits."""
        return self.qsize() == 0

    def clean(self) -> int:
        """Remove all items and return how many."""
        return self._store.purge(self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the items in the order in which they would be popped; they stay."""
        return {"items": [self._listed(each) for each in self._store.waiting(self.name)]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return a queue in memory with the items of `to_dict`."""
        queue = cls()
        queue._fill(data["items"])
        return queue

    def _push(self, item: Any, priority: int) -> None:
        try:
            body = to_json(item).decode()
        except (PydanticSerializationError, ValueError) as error:
            raise JobValidationError(self.name, [str(error)], part="item") from error
        self._store.publish(self.name, [Entry(new_job_id(), body, priority)])

    def _holder(self) -> LocalHolder:
        """Return this thread's own hold: each of several waiting threads is woken by itself."""
        holder: LocalHolder | None = getattr(self._holders, "own", None)
        if holder is None:
            holder = self._holders.own = self._store.holder()
        return holder

    def _listed(self, delivery: Delivery) -> Any:
        return json.loads(delivery.body)

    def _fill(self, items: Iterable[Any]) -> None:
        for item in items:
            self.push(item)


class LocalStack(LocalQueue):
    """A last-in, first-out stack of JSON values; otherwise as `LocalQueue`."""

    queue_type: ClassVar[QueueType] = "stack"

    def _fill(self, items: Iterable[Any]) -> None:
        for item in reversed(list(items)):
            self.push(item)


class LocalPriorityQueue(LocalQueue):
    """A queue that gives the highest priority first, ties in order of arrival."""

    queue_type: ClassVar[QueueType] = "priority"

    def push(self, item: Any, priority: int = 0) -> None:
        """Insert an item; it is safe when this returns."""
        check_priority(priority)
        self._push(item, priority)

    def _listed(self, delivery: Delivery) -> Any:
        return {"item": json.loads(delivery.body), "priority": delivery.priority}

    def _fill(self, items: Iterable[Any]) -> None:
        for each in items:
            self.push(each["item"], each["priority"])
