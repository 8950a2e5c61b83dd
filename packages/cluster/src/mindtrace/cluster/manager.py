"""`ClusterManager`: routes jobs, keeps account of workers and nodes, and is a gateway as well."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import HttpUrl

from mindtrace.cluster.client import START_WITHIN
from mindtrace.cluster.core.types import (
    FINISHED,
    BackendArgs,
    CancelOutput,
    ConnectToClusterInput,
    DLQJobs,
    JobIdInput,
    JobSchemaNameInput,
    JobStatus,
    JobStatuses,
    LaunchOutput,
    LaunchStatus,
    LaunchWorkerInput,
    LaunchWorkerStatusInput,
    ListJobsInput,
    NodeStatuses,
    ProxyWorker,
    RegisterJobSchemaInput,
    RegisterJobSchemaToWorkerTypeInput,
    RegisterJobToEndpointInput,
    RegisterJobToWorkerInput,
    RegisterNodeInput,
    RegisterNodeOutput,
    RegisterWorkerTypeInput,
    SubmitJobsInput,
    WaitInput,
    WorkerIdInput,
    WorkerReport,
    WorkerStatus,
    WorkerStatuses,
    WorkerUrlInput,
)
from mindtrace.cluster.endpoint_jobs import EndpointJobs
from mindtrace.cluster.errors import ClusterError
from mindtrace.cluster.folders import folder_of, prepared
from mindtrace.cluster.housekeeping import Housekeeping
from mindtrace.cluster.members import Members
from mindtrace.cluster.places import node_answer
from mindtrace.cluster.ports.registry import open_registry
from mindtrace.cluster.ports.state import open_state
from mindtrace.cluster.ports.state_apps import StateApps
from mindtrace.cluster.records import Records
from mindtrace.cluster.routes import ORCHESTRATOR, Routes
from mindtrace.cluster.settings import cluster_settings, open_backend, opened, places_of
from mindtrace.cluster.submission import ENDPOINTS, UNROUTED, Submission
from mindtrace.cluster.tokens import manager_keys, member_tokens, own_token, with_own_key
from mindtrace.core.task import TaskSchema
from mindtrace.jobs import Job
from mindtrace.services import Gateway, ServerStatus, ServiceError, ServiceUnavailableError
from mindtrace.services.settings import services_settings
from mindtrace.services.types import ShutdownSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pydantic import BaseModel

    from mindtrace.cluster.ports.registry import WorkerRegistry
    from mindtrace.cluster.ports.state import StateStore
    from mindtrace.cluster.routes import Route
    from mindtrace.core.settings import Config
    from mindtrace.services import ConnectionManager
    from mindtrace.services.gateway.store import AppStore
    from mindtrace.services.gateway.types import AppConfig
    from mindtrace.services.keys import Key
    from mindtrace.services.settings import Scope

WAITERS = 256
"""Calls that wait for a job at a time; others wait for them. They have threads of their own, so
that nodes and other clients are answered meanwhile."""

Row = tuple[str, "Callable[..., Any]", "type[BaseModel] | None", "type[BaseModel] | None", "Scope"]


class ClusterManager(Gateway):
    """The control plane of a cluster.

    With no setting everything is kept in a folder of this machine; see `ClusterSettings`. One that
    was given any free port (0) begins with an empty folder, and sets aside what it finds there.

    Where no API or admin token is set, it opens to callers of its own user on its own machine; see
    `mindtrace.cluster.tokens`.

    Args:
        kwargs: Those of `Service`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._state: StateStore
        self._records: Records
        self._registry: WorkerRegistry
        self._routes: Routes
        self._submission: Submission
        self._members: Members
        self._endpoint_jobs: EndpointJobs
        self._stored_apps = StateApps(lambda: self._state)
        self._housekeeping: Housekeeping
        for name, function, taken, given, scope in self._rows():
            schema = TaskSchema(name=name, input_schema=taken, output_schema=given)
            self.add_endpoint(f"/{name}", function, schema, scope=scope)
        # whoever may submit may not end the cluster
        self.add_endpoint("/shutdown", self.shutdown_func, ShutdownSchema, scope="admin")

    def _rows(self) -> list[Row]:
        return [
            ("submit_job", self.submit_job, Job, JobStatus, "submit"),
            ("submit_jobs", self.submit_jobs, SubmitJobsInput, JobStatuses, "submit"),
            ("get_job_status", self.get_job_status, JobIdInput, JobStatus, "submit"),
            ("wait_for_job", self.wait_for_job, WaitInput, JobStatus, "submit"),
            ("list_jobs", self.list_jobs, ListJobsInput, JobStatuses, "submit"),
            ("cancel_job", self.cancel_job, JobIdInput, CancelOutput, "submit"),
            ("get_dlq_jobs", self.get_dlq_jobs, None, DLQJobs, "submit"),
            ("requeue_from_dlq", self.requeue_from_dlq, JobIdInput, JobStatus, "submit"),
            ("discard_from_dlq", self.discard_from_dlq, JobIdInput, None, "submit"),
            ("get_worker_status", self.get_worker_status, WorkerIdInput, WorkerStatus, "submit"),
            (
                "get_worker_status_by_url",
                self.get_worker_status_by_url,
                WorkerUrlInput,
                WorkerStatus,
                "submit",
            ),
            (
                "query_worker_status",
                self.query_worker_status,
                WorkerIdInput,
                WorkerStatus,
                "submit",
            ),
            (
                "query_worker_status_by_url",
                self.query_worker_status_by_url,
                WorkerUrlInput,
                WorkerStatus,
                "submit",
            ),
            ("list_workers", self.list_workers, None, WorkerStatuses, "submit"),
            ("list_nodes", self.list_nodes, None, NodeStatuses, "submit"),
            ("launch_worker", self.launch_worker, LaunchWorkerInput, LaunchOutput, "node"),
            (
                "launch_worker_status",
                self.launch_worker_status,
                LaunchWorkerStatusInput,
                LaunchStatus,
                "node",
            ),
            ("register_node", self.register_node, RegisterNodeInput, RegisterNodeOutput, "node"),
            ("worker_report", self.worker_report, WorkerReport, None, "node"),
            (
                "register_job_to_endpoint",
                self.register_job_to_endpoint,
                RegisterJobToEndpointInput,
                None,
                "admin",
            ),
            (
                "register_job_to_worker",
                self.register_job_to_worker,
                RegisterJobToWorkerInput,
                None,
                "admin",
            ),
            (
                "register_worker_type",
                self.register_worker_type,
                RegisterWorkerTypeInput,
                None,
                "admin",
            ),
            (
                "register_job_schema_to_worker_type",
                self.register_job_schema_to_worker_type,
                RegisterJobSchemaToWorkerTypeInput,
                None,
                "admin",
            ),
            (
                "register_job_schema",
                self.register_job_schema,
                RegisterJobSchemaInput,
                None,
                "admin",
            ),
            (
                "clear_job_schema_queue",
                self.clear_job_schema_queue,
                JobSchemaNameInput,
                None,
                "admin",
            ),
            ("clear_databases", self.clear_databases, None, None, "admin"),
        ]

    @classmethod
    def client_base(cls) -> type[ConnectionManager]:
        """Return what the classes of clients are derived from."""
        from mindtrace.cluster.client import ClusterConnectionManager  # noqa: PLC0415 - as needed

        return ClusterConnectionManager

    # who may call

    @classmethod
    def keys_in(cls, config: Config) -> list[Key]:
        """Return the tokens that the settings give: those of services, `submit` and `node`."""
        return manager_keys(config)

    @property
    def keys(self) -> list[Key]:
        """The tokens that open the manager; without one in the settings, that of its own user."""
        return with_own_key(super().keys, self)

    def token_for(self, app: AppConfig) -> str | None:
        """Return what opens an app that is a service of this user without a token of its own."""
        return own_token(HttpUrl(app.url), self.config)

    # living

    def app_store(self) -> AppStore:
        """Return where the apps are kept: in the state of the cluster."""
        return self._stored_apps

    def startup(self) -> None:
        """Open what the cluster keeps its things in."""
        settings = cluster_settings(self.config)
        folder = folder_of(self.url, settings, self.config)
        empty = self.takes_any_port and settings.folder is None
        self._mark = prepared(folder, str(self.id), empty=empty)
        self._places = places_of(settings, folder)
        self._settings = settings
        places = self._places
        self._state = opened("STATE_URL", lambda: open_state(places.state))
        super().startup()
        backend = opened("QUEUE_URL", lambda: open_backend(places))
        self._records = Records(backend, settings.result_ttl)
        self._registry = opened("REGISTRY_URL", lambda: open_registry(places.registry))
        self._routes = Routes(self._state)
        self._submission = Submission(
            self._records, self._routes, self._state, is_ending=self._is_ending
        )
        self._members = Members(self._state)
        self._waiters = ThreadPoolExecutor(WAITERS, thread_name_prefix="mindtrace-wait")
        self._records.declare(ENDPOINTS)
        general = [each for each in [services_settings(self.config).token()] if each]
        tokens = member_tokens(self.url, general, self.config)
        self._endpoint_jobs = EndpointJobs(self._routes, lambda: str(self.url), tokens)
        self._endpoint_jobs.begin(self._records.orchestrator)
        self._housekeeping = Housekeeping(
            self._records, self._members, self._state, keep=settings.result_ttl
        )
        self._housekeeping.begin()

    async def shutdown_cleanup(self) -> None:
        """Finish calls to endpoints, and close everything."""
        # what it waits for goes through this very event loop
        await asyncio.to_thread(self._endpoint_jobs.end)
        await asyncio.to_thread(self._stored_apps.end)
        await asyncio.to_thread(self._housekeeping.end)
        self._waiters.shutdown(wait=False, cancel_futures=True)
        self._records.close()
        self._state.close()
        await super().shutdown_cleanup()

    # jobs

    async def submit_job(self, payload: Job) -> JobStatus:
        """Send a job where its type goes; it is safe when this returns.

        A job for an endpoint is answered with its outcome if that comes within 30 s, else with
        `running`.
        """
        status, route = await asyncio.to_thread(self._submit, payload)
        if route is None or route.is_queued:
            return status
        return await self._finished(payload.id, self._settings.answer_within)

    def _submit(self, job: Job) -> tuple[JobStatus, Route | None]:
        routes = self._submission.routes_of([job])
        return self._submission.submit([job], routes)[0], routes.get(job.schema_name)

    async def _finished(self, job_id: str, seconds: float) -> JobStatus:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._waiters, self._submission.wait, job_id, seconds)

    def submit_jobs(self, payload: SubmitJobsInput) -> JobStatuses:
        """Send many jobs; all are safe when this returns."""
        return JobStatuses(jobs=self._submission.submit(payload.jobs))

    def get_job_status(self, payload: JobIdInput) -> JobStatus:
        """Return how a job is."""
        return self._submission.status(payload.job_id)

    async def wait_for_job(self, payload: WaitInput) -> JobStatus:
        """Return how a job is as soon as it has finished, or when the time is over."""
        found = await self._finished(payload.job_id, payload.timeout)
        if found.status not in FINISHED and self._is_ending():
            message = (
                f"the manager ends, and job {payload.job_id!r} is {found.status}: ask again when "
                "there is a manager"
            )
            raise ClusterError(message)
        return found

    def _is_ending(self) -> bool:
        return self.status is ServerStatus.STOPPING

    def list_jobs(self, payload: ListJobsInput) -> JobStatuses:
        """Return jobs in the order in which they were submitted."""
        return JobStatuses(jobs=self._submission.list(payload))

    def cancel_job(self, payload: JobIdInput) -> CancelOutput:
        """Cancel a job that waits, or ask its worker to stop."""
        return CancelOutput(cancelled=self._records.cancel(payload.job_id))

    def get_dlq_jobs(self) -> DLQJobs:
        """Return the jobs that failed, oldest first."""
        return DLQJobs(jobs=self._records.dead())

    def requeue_from_dlq(self, payload: JobIdInput) -> JobStatus:
        """Run a job that failed once more."""
        return self._records.requeue(payload.job_id)

    def discard_from_dlq(self, payload: JobIdInput) -> None:
        """Remove a job that failed, for good."""
        self._records.discard(payload.job_id)

    # routes

    def register_job_to_endpoint(self, payload: RegisterJobToEndpointInput) -> None:
        """Have the jobs of a type sent to a path of this gateway."""
        self._routes.set(payload.job_type, payload.endpoint)

    def register_job_to_worker(self, payload: RegisterJobToWorkerInput) -> None:
        """Have the jobs of a type queued, and a worker that runs already take them.

        A worker that is not there changes nothing of the route: the jobs wait.
        """
        self._queue_for(payload.job_type)
        try:
            worker = self._members.worker_at(payload.worker_url)
            worker.connect_to_cluster(
                ConnectToClusterInput(
                    backend_args=self._backend_args(),
                    queue_name=payload.job_type,
                    cluster_url=str(self.url),
                    mark=self._mark if self._places.jobs_in_folder else None,
                ),
                timeout=START_WITHIN,
            )
            self._members.joined(worker, payload.job_type)
        except ServiceUnavailableError as error:
            self.logger.warning("The worker was not connected: %s", error)

    def register_worker_type(self, payload: RegisterWorkerTypeInput) -> None:
        """Describe a worker type, so that nodes can launch it."""
        worker = ProxyWorker(
            worker_type=payload.worker_class,
            **payload.model_dump(
                include={
                    "worker_params",
                    "git_repo_url",
                    "git_branch",
                    "git_commit",
                    "git_working_dir",
                    "git_project",
                }
            ),
        )
        self._registry.save(payload.worker_name, worker)
        if payload.job_type is not None:
            self._queue_for(payload.job_type)
            self._routes.connect(payload.worker_name, payload.job_type)

    def register_job_schema_to_worker_type(
        self, payload: RegisterJobSchemaToWorkerTypeInput
    ) -> None:
        """Have the jobs of a type queued for the workers of a type."""
        if payload.worker_type not in self._registry.names():
            self.logger.warning("The worker type %r is not registered yet", payload.worker_type)
        self._queue_for(payload.job_schema_name)
        self._routes.connect(payload.worker_type, payload.job_schema_name)

    def register_job_schema(self, payload: RegisterJobSchemaInput) -> None:
        """Have the payloads of a job type checked when they are submitted."""
        self._routes.set_schema(payload.job_schema_name, dict(payload.json_schema))

    def _queue_for(self, job_type: str) -> None:
        self._records.declare(job_type)
        self._routes.set(job_type, ORCHESTRATOR)

    def _backend_args(self) -> BackendArgs:
        return BackendArgs.model_validate(self._records.orchestrator.backend.consumer_backend_args)

    def clear_job_schema_queue(self, payload: JobSchemaNameInput) -> None:
        """Remove the jobs of a type that wait."""
        self._submission.clear(payload.job_schema_name)

    def clear_databases(self) -> None:
        """Forget jobs, routes, workers and dead letters; nodes and worker types stay."""
        # those that go to an endpoint now may have gone to a queue before
        self._records.empty([*(each.schema_name for each in self._routes.all()), ENDPOINTS])
        self._routes.clear()
        self._members.clear()
        self._state.clear(UNROUTED)
        self._state.clear_index()

    # workers and nodes

    def get_worker_status(self, payload: WorkerIdInput) -> WorkerStatus:
        """Return what is known of a worker."""
        return self._members.by_id(payload.worker_id)

    def get_worker_status_by_url(self, payload: WorkerUrlInput) -> WorkerStatus:
        """Return what is known of the worker at a URL."""
        return self._members.by_url(payload.worker_url)

    def query_worker_status(self, payload: WorkerIdInput) -> WorkerStatus:
        """Ask a worker how it does."""
        return self._members.asked(self._members.by_id(payload.worker_id))

    def query_worker_status_by_url(self, payload: WorkerUrlInput) -> WorkerStatus:
        """Ask the worker at a URL how it does."""
        return self._members.asked(self._members.by_url(payload.worker_url))

    def list_workers(self) -> WorkerStatuses:
        """Return all workers that are known."""
        return WorkerStatuses(workers=self._members.workers())

    def list_nodes(self) -> NodeStatuses:
        """Return all nodes that are known."""
        return NodeStatuses(nodes=self._members.nodes())

    def worker_report(self, payload: WorkerReport) -> None:
        """Take note of how a worker does."""
        self._members.heard_of_worker(payload)

    def register_node(self, payload: RegisterNodeInput) -> RegisterNodeOutput:
        """Take note of a node, and tell it what it needs to launch workers."""
        self._members.heard_of_node(payload)
        return node_answer(self._places, self._settings, self._backend_args(), self._mark)

    def launch_worker(self, payload: LaunchWorkerInput) -> LaunchOutput:
        """Have a node launch a worker; `launch_worker_status` tells how far it is."""
        node = self._members.node_at(self._members.known_node(payload.node_url))
        with _passed_on(payload.node_url):
            launched: LaunchOutput = node.launch_worker(
                worker_type=payload.worker_type,
                worker_name=payload.worker_name,
                worker_url=payload.worker_url,
                auto_connect_job_types=self._routes.job_types_of(payload.worker_type),
            )
            return launched

    def launch_worker_status(self, payload: LaunchWorkerStatusInput) -> LaunchStatus:
        """Return how far a launch on a node is."""
        node = self._members.node_at(self._members.known_node(payload.node_url))
        with _passed_on(payload.node_url):
            found: LaunchStatus = node.launch_worker_status(launch_id=payload.launch_id)
            return found


@contextmanager
def _passed_on(node_url: str) -> Generator[None]:
    """Pass on what a node says is wrong, without how it was asked."""
    try:
        yield
    except ServiceError as error:
        message = f"the node at {node_url} says: {error.remote_message}"
        raise ClusterError(message) from error
