"""`Node`: a service that launches workers on its machine, and watches over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mindtrace.cluster.client import START_WITHIN, ManagerClient
from mindtrace.cluster.core.types import (
    ConnectToClusterInput,
    LaunchIdInput,
    LaunchOutput,
    LaunchStatus,
    NodeLaunchWorkerInput,
    NodeWorker,
    RegisterNodeInput,
    RegisterNodeOutput,
    WorkerIdInput,
    WorkerNameInput,
    WorkerPortInput,
)
from mindtrace.cluster.errors import ClusterError
from mindtrace.cluster.folders import check_same
from mindtrace.cluster.launcher import TIMEOUT, StandardWorkerLauncher
from mindtrace.cluster.launches import Wanted, Workers
from mindtrace.cluster.member import Member
from mindtrace.cluster.reporting import HEARTBEAT, Reporter
from mindtrace.cluster.settings import cluster_settings, ports_in
from mindtrace.core.task import TaskSchema
from mindtrace.services.urls import bare_host, checked, port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel


class Node(Member):
    """Launches the workers of a cluster on one machine.

    A worker that dies is launched anew, unless it was shut down on purpose. When the node ends, its
    workers do.

    Args:
        cluster_url: The manager; None for a node of its own, which can launch nothing.
        worker_ports: The ports that it gives to workers; else those of the setting
            `MINDTRACE_CLUSTER__WORKER_PORTS_RANGE`, 8092 to 8111 unless set.
        kwargs: Those of `Service`.
    """

    def __init__(
        self,
        *,
        cluster_url: str | None = None,
        worker_ports: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_url = cluster_url
        ports = worker_ports or ports_in(cluster_settings(self.config).worker_ports_range)
        self.workers = Workers(self._launch, ports, self._changed)
        self._manager: ManagerClient | None = None
        self._place: RegisterNodeOutput | None = None
        self._reporter: Reporter | None = None
        rows: list[
            tuple[str, Callable[..., Any], type[BaseModel] | None, type[BaseModel] | None]
        ] = [
            ("launch_worker", self.launch_worker, NodeLaunchWorkerInput, LaunchOutput),
            ("launch_worker_status", self.launch_worker_status, LaunchIdInput, LaunchStatus),
            ("shutdown_worker", self.shutdown_worker, WorkerNameInput, None),
            ("shutdown_worker_by_id", self.shutdown_worker_by_id, WorkerIdInput, None),
            ("shutdown_worker_by_port", self.shutdown_worker_by_port, WorkerPortInput, None),
            ("shutdown_all_workers", self.shutdown_all_workers, None, None),
        ]
        for name, function, taken, given in rows:
            schema = TaskSchema(name=name, input_schema=taken, output_schema=given)
            self.add_endpoint(f"/{name}", function, schema)

    # joining

    def startup(self) -> None:
        """Join the cluster."""
        if self.cluster_url is None:
            return
        self._manager = ManagerClient(self.cluster_url)
        self._join()
        self._reporter = Reporter(self._join, every=HEARTBEAT)
        self._reporter.start()

    def _join(self) -> None:
        """Say that this node lives; a manager that was started anew learns of it by that."""
        assert self._manager is not None
        place = self._manager.register_node(
            RegisterNodeInput(node_url=str(self.url), workers=self.workers.running())
        )
        check_same(place.mark)
        self._place = place

    def _changed(self) -> None:
        if self._reporter is not None:
            self._reporter.changed()

    def shutdown_cleanup(self) -> None:
        """End the workers, and say goodbye."""
        if self._reporter is not None:
            self._reporter.leave()
        self.shutdown_all_workers()
        if self._reporter is not None:
            self._reporter.stop()

    # launching

    def launch_worker(self, payload: NodeLaunchWorkerInput) -> LaunchOutput:
        """Begin to launch a worker; `launch_worker_status` tells how far it is."""
        try:
            launch_id = self.workers.launch(
                payload.worker_type,
                payload.worker_name,
                self._address(payload.worker_url),
                payload.job_types,
            )
        except ValueError as error:
            launch_id = self.workers.failed(str(error))
        return LaunchOutput(launch_id=launch_id)

    def _address(self, url: str | None) -> tuple[str, int | None]:
        if url is None:
            return bare_host(self.url), None
        found = checked(url)
        if urlsplit(url).port is None:
            message = f"{url!r} names no port for a worker"
            raise ValueError(message)
        return bare_host(found), port_of(found)

    def launch_worker_status(self, payload: LaunchIdInput) -> LaunchStatus:
        """Return how far a launch is."""
        found = self.workers.status(payload.launch_id)
        if found is None:
            message = f"this node knows of no launch {payload.launch_id!r}"
            raise ClusterError(message)
        return found

    # Any: the client that the worker's class makes
    def _launch(self, wanted: Wanted) -> tuple[Any, str]:
        """Launch a worker and connect it; what `Workers` calls."""
        if self._place is None:
            message = "this node belongs to no cluster; launch it with cluster_url="
            raise ClusterError(message)
        launcher = StandardWorkerLauncher(self._place.registry_url.get_secret_value())
        found = launcher.load(wanted.worker_type)
        if wanted.workplace is None:
            wanted.workplace = launcher.workplace(found, wanted.leaving)
        manager = launcher.begin(found, wanted.url, wanted.workplace)
        wanted.begun(manager)
        try:
            manager.wait_for_launch(TIMEOUT)
            for each in wanted.job_types:
                manager.connect_to_cluster(
                    ConnectToClusterInput(
                        backend_args=self._place.backend_args,
                        queue_name=each,
                        cluster_url=self.cluster_url or "",
                        mark=self._place.mark,
                    ),
                    timeout=START_WITHIN,
                )
            return manager, str(manager.server_id().server_id)
        except BaseException:
            manager.end()
            raise

    # ending workers

    def shutdown_worker(self, payload: WorkerNameInput) -> None:
        """End the worker of that name."""
        self._end(lambda each: each.worker_name == payload.worker_name, payload.worker_name)

    def shutdown_worker_by_id(self, payload: WorkerIdInput) -> None:
        """End the worker of that id."""
        # one that is not up has none, and is not meant by ''
        self._end(lambda each: payload.worker_id in {each.worker_id} - {""}, payload.worker_id)

    def shutdown_worker_by_port(self, payload: WorkerPortInput) -> None:
        """End the worker on that port."""
        self._end(lambda each: each.worker_port == payload.worker_port, str(payload.worker_port))

    def shutdown_all_workers(self) -> None:
        """End all workers."""
        self.workers.shut_down(self.workers.find(lambda _: True))

    def _end(self, matches: Callable[[NodeWorker], bool], what: str) -> None:
        found = self.workers.find(matches)
        if not found:
            message = f"this node has no worker {what!r}"
            raise ClusterError(message)
        self.workers.shut_down(found)
