"""`Workers`: the workers of one node. Launches them, watches over them, and ends them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mindtrace.cluster.core.types import LaunchStatus, LaunchStatusEnum, NodeWorker
from mindtrace.core.errors import PortInUseError
from mindtrace.core.log import get_logger
from mindtrace.core.net import is_port_available

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mindtrace.cluster.git.workplace import Workplace

    # Any: the methods of a client are made from the endpoints of its service
    Launcher = Callable[["Wanted"], tuple[Any, str]]

_log = get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds before a worker that died is launched anew: doubled each time, up to the longest, and the
first again after one that lived for longer than that."""

KEPT = 1000
"""Launches that are remembered; the oldest are forgotten."""


@dataclass(slots=True)
class Wanted:
    """A worker that is to run.

    Attributes:
        worker_type: What the registry calls it.
        name: What this node calls it.
        host: Where it listens.
        port: Its port.
        job_types: The job types that it is connected to when it is up.
        movable: Whether the port is the node's choice, which may take another.
        workplace: What it is launched in each time, if it comes from a repository.
    """

    worker_type: str
    name: str
    host: str
    port: int
    job_types: Sequence[str] = ()
    movable: bool = False
    workplace: Workplace | None = None
    manager: Any = None
    worker_id: str = ""
    leaving: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    # Any: as `manager`
    def begun(self, manager: Any) -> None:
        """Take note of its process, which may be told to end before it is ready."""
        self.manager = manager
        if self.leaving.is_set():
            manager.end()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}/"

    def as_worker(self) -> NodeWorker:
        """Return it as others see it."""
        return NodeWorker(
            worker_type=self.worker_type,
            worker_port=self.port,
            worker_id=self.worker_id,
            worker_name=self.name,
            worker_url=self.url,
        )


class Workers:
    """The workers of a node, each with a thread that keeps it alive. Thread-safe.

    Args:
        launch: Launches one, and returns a client of it and its id when it is up and connected.
        ports: The ports to choose from.
        changed: Called when a worker has come or gone.
    """

    def __init__(self, launch: Launcher, ports: Sequence[int], changed: Callable[[], None]) -> None:
        self._launch = launch
        self._ports = list(ports)
        self._changed = changed
        self._mutex = threading.RLock()
        self._wanted: dict[str, Wanted] = {}
        self._launches: dict[str, LaunchStatus] = {}

    def launch(
        self,
        worker_type: str,
        name: str | None,
        place: tuple[str, int | None],
        job_types: Sequence[str] = (),
    ) -> str:
        """Begin to launch a worker, and return the id of the launch.

        Raises:
            ValueError: the name or the port is another worker's, or no port is free.
        """
        launch_id = str(uuid4())
        with self._mutex:
            host, port = place
            chosen = self._name_for(worker_type, name)
            wanted = Wanted(
                worker_type,
                chosen,
                host,
                port=self._port_for(host, port),
                job_types=job_types,
                movable=port is None,
            )
            self._wanted[chosen] = wanted
            self._remember(
                LaunchStatus(launch_id=launch_id, worker_name=chosen, worker_url=wanted.url)
            )
        threading.Thread(
            target=self._keep, args=(wanted, launch_id), name=f"mindtrace-{chosen}", daemon=True
        ).start()
        return launch_id

    def status(self, launch_id: str) -> LaunchStatus | None:
        """Return how far a launch is."""
        with self._mutex:
            found = self._launches.get(launch_id)
            return found.model_copy() if found else None

    def failed(self, error: str) -> str:
        """Remember a launch that could not even begin; return its id."""
        launch_id = str(uuid4())
        with self._mutex:
            self._remember(
                LaunchStatus(launch_id=launch_id, status=LaunchStatusEnum.FAILED, error=error)
            )
        return launch_id

    def running(self) -> list[NodeWorker]:
        """Return the workers that are up."""
        with self._mutex:
            return [each.as_worker() for each in self._wanted.values() if each.worker_id]

    def find(self, matches: Callable[[NodeWorker], bool]) -> list[str]:
        """Return the names of the workers that match, up or not."""
        with self._mutex:
            return [each.name for each in self._wanted.values() if matches(each.as_worker())]

    def shut_down(self, names: Sequence[str]) -> None:
        """End workers for good; returns when they have ended."""
        with self._mutex:
            leaving = [self._wanted[name] for name in names if name in self._wanted]
        if not leaving:
            return
        for each in leaving:
            each.leaving.set()
        # together: one that is busy takes its time
        with ThreadPoolExecutor(len(leaving)) as pool:
            for _ in pool.map(_end, leaving):
                pass

    def _name_for(self, worker_type: str, name: str | None) -> str:
        if name is not None:
            if name in self._wanted:
                message = f"a worker {name!r} is on this node already; choose another name"
                raise ValueError(message)
            return name
        number, chosen = 1, worker_type
        while chosen in self._wanted:
            number += 1
            chosen = f"{worker_type}-{number}"
        return chosen

    def _port_for(self, host: str, port: int | None) -> int:
        taken = {each.port for each in self._wanted.values()}
        if port is not None:
            if port in taken:
                message = f"a worker of this node has port {port} already"
                raise ValueError(message)
            return port
        return self._free_port(host, taken)

    def _free_port(self, host: str, taken: set[int]) -> int:
        for each in self._ports:
            if each not in taken and is_port_available(host, each):
                return each
        message = (
            f"no port from {self._ports[0]} to {self._ports[-1]} is free; widen "
            "MINDTRACE_CLUSTER__WORKER_PORTS_RANGE"
        )
        raise ValueError(message)

    def _remember(self, launch: LaunchStatus) -> None:
        self._launches[launch.launch_id] = launch
        while len(self._launches) > KEPT:
            del self._launches[next(iter(self._launches))]

    def _tell(self, launch_id: str, status: LaunchStatusEnum, **facts: Any) -> None:
        with self._mutex:
            found = self._launches.get(launch_id)
            if found is not None:
                self._launches[launch_id] = found.model_copy(update={"status": status, **facts})

    def _keep(self, wanted: Wanted, launch_id: str) -> None:
        """Launch a worker, and launch it anew whenever it dies, until it is shut down."""
        try:
            self._tell(launch_id, LaunchStatusEnum.RUNNING)
            if not self._up(wanted, launch_id):
                return
            pause = FIRST_PAUSE
            while True:
                began = monotonic()
                assert wanted.manager is not None
                wanted.manager.wait_until_ended()
                if wanted.leaving.is_set():
                    return
                _log.error("The worker %s died; it is launched anew", wanted.name)
                wanted.worker_id = ""
                self._changed()
                if monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                while not wanted.leaving.wait(pause) and not self._up(wanted, None):
                    pause = min(2 * pause, LONGEST_PAUSE)
                if wanted.leaving.is_set():
                    wanted.manager.end()
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            _leave(wanted)
            with self._mutex:
                self._wanted.pop(wanted.name, None)
            wanted.ended.set()
            self._changed()

    def _up(self, wanted: Wanted, launch_id: str | None) -> bool:
        """Launch once; tell whether it is up."""
        try:
            manager, worker_id = self._launched(wanted, launch_id)
        except Exception as error:  # noqa: BLE001 - whoever asked for it is told
            if wanted.leaving.is_set():
                problem: object = "it was shut down before it was ready"
            else:
                problem = error
                _log.warning("The worker %s did not start: %s", wanted.name, problem)
            if launch_id is not None:
                self._tell(launch_id, LaunchStatusEnum.FAILED, error=f"{problem}")
            return False
        wanted.worker_id = worker_id
        wanted.begun(manager)
        if launch_id is not None:
            self._tell(launch_id, LaunchStatusEnum.READY, worker_id=worker_id)
        self._changed()
        return True

    def _launched(self, wanted: Wanted, launch_id: str | None) -> tuple[Any, str]:
        """Launch a worker; elsewhere if the port that seemed free is somebody's by now."""
        for _ in self._ports:
            try:
                return self._launch(wanted)
            except PortInUseError:
                if not wanted.movable:
                    raise
                with self._mutex:
                    taken = {each.port for each in self._wanted.values()}
                    wanted.port = self._free_port(wanted.host, taken)
                if launch_id is not None:
                    self._tell(launch_id, LaunchStatusEnum.RUNNING, worker_url=wanted.url)
        return self._launch(wanted)


def _leave(worker: Wanted) -> None:
    if worker.workplace is not None:
        try:
            worker.workplace.close()
        except OSError:
            _log.exception("The checkout of %s could not be removed", worker.name)


def _end(worker: Wanted) -> None:
    if worker.manager is not None:
        worker.manager.end()
    worker.ended.wait()
