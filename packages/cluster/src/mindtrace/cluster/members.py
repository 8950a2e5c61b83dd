"""`Members`: the workers and nodes that a manager has heard of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindtrace.cluster.core.types import (
    NodeStatus,
    RegisterNodeInput,
    WorkerReport,
    WorkerStatus,
    WorkerStatusEnum,
)
from mindtrace.cluster.errors import NodeNotFoundError
from mindtrace.cluster.node import Node
from mindtrace.cluster.worker import Worker
from mindtrace.core.clock import SystemClock
from mindtrace.services import ServiceError, ServiceTimeoutError, ServiceUnavailableError

if TYPE_CHECKING:
    from mindtrace.cluster.ports.state import StateStore
    from mindtrace.core.clock import Clock

WORKERS, NODES = "workers", "nodes"

LOST_AFTER = 10.0
"""Seconds of silence after which a node counts as lost, and a worker as nonexistent."""

FORGOTTEN_AFTER = 24 * 3600.0
"""Seconds of silence after which a worker or node is not remembered any more."""

CLIENTS = 256
"""Clients that are kept with their connections; the oldest give way."""

PATIENCE = 5.0
"""Seconds that a worker may take to say how it does."""


class Members:
    """Keeps account of workers and nodes. Thread-safe."""

    def __init__(self, state: StateStore, clock: Clock | None = None) -> None:
        self._state = state
        self._clock = clock or SystemClock()
        self._clients: dict[str, Any] = {}

    # clients

    # Any: the methods of these clients are made from the endpoints
    def worker_at(self, url: str) -> Any:
        """Return a client of a worker."""
        return self._client(Worker, url)

    def node_at(self, url: str) -> Any:
        """Return a client of a node."""
        return self._client(Node, url)

    def known_node(self, url: str) -> str:
        """Return the URL of a node that has joined; no other address is called on anybody's word.

        Raises:
            NodeNotFoundError: there is none at that URL.
        """
        known = [each.node_url for each in self.nodes()]
        for each in known:
            if each.rstrip("/") == url.rstrip("/"):
                return each
        raise NodeNotFoundError(url, known)

    def _client(self, cls: type[Worker | Node], url: str) -> Any:
        key = f"{cls.__name__} {url.rstrip('/')}"
        found = self._clients.get(key)
        if found is None:
            found = self._clients[key] = cls.client_class()(url)
            while len(self._clients) > CLIENTS:
                # it is closed when nobody has it in hand any more
                self._clients.pop(next(iter(list(self._clients))), None)
        return found

    # workers

    def joined(self, worker: Any, worker_type: str) -> None:
        """Take note of a worker that was connected just now."""
        said = worker.get_status()
        self._keep(
            WorkerStatus(
                worker_id=said.worker_id,
                worker_type=worker_type,
                worker_url=str(worker.url),
                status=said.status,
                job_id=said.job_id,
                last_heartbeat=self._clock.now(),
            )
        )

    def heard_of_worker(self, report: WorkerReport) -> None:
        """Take note of what a worker said."""
        before = self._state.get(WORKERS, report.worker_id)
        known = before["worker_type"] if before else report.worker_type
        self._keep(
            WorkerStatus(
                **report.model_dump(exclude={"worker_type"}),
                worker_type=known,
                last_heartbeat=self._clock.now(),
            )
        )

    def _keep(self, worker: WorkerStatus) -> None:
        self._state.put(WORKERS, worker.worker_id, worker.model_dump(mode="json"))

    def _now(self, document: dict[str, Any]) -> WorkerStatus:
        """Return what is known of a worker; `nonexistent` if it is silent, and did not say why."""
        worker = WorkerStatus.model_validate(document)
        silence = self._clock.now() - (worker.last_heartbeat or 0.0)
        if silence <= LOST_AFTER or worker.status is WorkerStatusEnum.SHUTDOWN:
            return worker
        return _gone(worker)

    def workers(self) -> list[WorkerStatus]:
        """Return all workers; those of which nothing was heard for long are `nonexistent`."""
        return [self._now(each) for each in self._state.all(WORKERS).values()]

    def by_id(self, worker_id: str) -> WorkerStatus:
        """Return what is known of a worker; `nonexistent` if nothing is."""
        found = self._state.get(WORKERS, worker_id)
        return WorkerStatus(worker_id=worker_id) if found is None else self._now(found)

    def by_url(self, url: str) -> WorkerStatus:
        """Return what is known of the worker at a URL: the one heard of last."""
        found = [each for each in self.workers() if each.worker_url.rstrip("/") == url.rstrip("/")]
        if not found:
            return WorkerStatus(worker_id="", worker_url=url)
        return max(found, key=lambda each: each.last_heartbeat or 0.0)

    def asked(self, worker: WorkerStatus) -> WorkerStatus:
        """Ask a worker how it does, and take note of it.

        One that nobody has heard of is not asked: calls show a token, and go to no address on the
        word of whoever asks.
        """
        if worker.last_heartbeat is None:
            return worker
        try:
            said = self.worker_at(worker.worker_url).get_status(timeout=PATIENCE)
        except (ServiceUnavailableError, ServiceTimeoutError, ServiceError):
            gone = _gone(worker)
            self._keep(gone)
            return gone
        if worker.worker_id != said.worker_id:  # another worker has its place
            return _gone(worker)
        found = worker.model_copy(
            update={
                "status": said.status,
                "job_id": said.job_id,
                "last_heartbeat": self._clock.now(),
            }
        )
        self._keep(found)
        return found

    # nodes

    def heard_of_node(self, node: RegisterNodeInput) -> None:
        """Take note of a node."""
        status = NodeStatus(
            node_url=node.node_url, last_heartbeat=self._clock.now(), workers=node.workers
        )
        self._state.put(NODES, node.node_url, status.model_dump(mode="json"))

    def nodes(self) -> list[NodeStatus]:
        """Return all nodes; those of which nothing was heard for long are `lost`."""
        now = self._clock.now()
        found = [NodeStatus.model_validate(each) for each in self._state.all(NODES).values()]
        return [
            each.model_copy(update={"status": "lost"})
            if now - each.last_heartbeat > LOST_AFTER
            else each
            for each in found
        ]

    def forget(self) -> None:
        """Forget workers and nodes of which nothing was heard for very long.

        Each that starts is another one, so that they would become more and more.
        """
        before = self._clock.now() - FORGOTTEN_AFTER
        for kind in (WORKERS, NODES):
            for key, each in self._state.all(kind).items():
                if (each["last_heartbeat"] or 0.0) < before:
                    self._state.remove(kind, key)

    def clear(self) -> None:
        """Forget the workers; nodes say that they live."""
        self._state.clear(WORKERS)


def _gone(worker: WorkerStatus) -> WorkerStatus:
    return worker.model_copy(update={"status": WorkerStatusEnum.NONEXISTENT, "job_id": None})
