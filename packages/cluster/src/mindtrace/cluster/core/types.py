"""What a cluster is asked, and what it answers.

The status words are string enums: `str(status)` is the word itself.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    field_validator,
)

from mindtrace.cluster.core.names import (
    Endpoint,
    JobType,
    JsonSchema,
    WorkerTypeName,
    WorkerUrl,
)
from mindtrace.cluster.git.source import checked_url
from mindtrace.jobs import Job

Revealed = Annotated[
    SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json")
]
"""A secret that travels in the answer, and is masked everywhere else."""


class JobStatusEnum(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"


FINISHED = frozenset(
    {
        JobStatusEnum.COMPLETED,
        JobStatusEnum.FAILED,
        JobStatusEnum.ERROR,
        JobStatusEnum.CANCELLED,
    }
)
"""The words after which nothing changes any more, unless somebody requeues the job."""


class WorkerStatusEnum(StrEnum):
    """What a worker is doing."""

    IDLE = "idle"
    RUNNING = "running"
    ERROR = "error"
    SHUTDOWN = "shutdown"
    NONEXISTENT = "nonexistent"


class LaunchStatusEnum(StrEnum):
    """How far the launch of a worker is."""

    PENDING = "pending"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


class JobStatus(BaseModel):
    """What is known of a job.

    Attributes:
        job_id: The job.
        status: How far it is.
        output: What the worker returned, or of a failure what it said; empty while it is not done.
        worker_id: Who ran it last, where that is known.
        job: The job itself, in the answer to whoever submits it.
        progress: How far it said it is: what is done, and of how much.
    """

    job_id: str
    status: JobStatusEnum
    output: Any = Field(default_factory=dict[str, Any])
    worker_id: str = ""
    job: Job | None = None
    progress: tuple[float, float | None] | None = None


class DLQJobStatus(BaseModel):
    """A job that failed.

    Attributes:
        job_id: The job.
        status: `failed` or `error`.
        output: What the worker returned or said.
        reason: Why it is here: `failed`, `rejected`, `invalid` or `poison`.
        job: The job itself; None if what was queued is no job.
        body: What was queued instead.
    """

    job_id: str
    status: JobStatusEnum = JobStatusEnum.FAILED
    output: Any = Field(default_factory=dict[str, Any])
    reason: str = "failed"
    job: Job | None = None
    body: str | None = None


class DLQJobs(BaseModel):
    """The jobs that failed, oldest first."""

    jobs: list[DLQJobStatus]


class WorkerStatus(BaseModel):
    """What is known of a worker.

    Attributes:
        worker_id: The worker.
        worker_type: What it was registered as.
        worker_url: Where it is.
        job_id: What it runs now.
        status: What it is doing; `nonexistent` when nothing was heard for 10 seconds.
        last_heartbeat: When it was heard of last: seconds since the epoch.
    """

    worker_id: str
    worker_type: str = ""
    worker_url: str = ""
    job_id: str | None = None
    status: WorkerStatusEnum = WorkerStatusEnum.NONEXISTENT
    last_heartbeat: float | None = None


class WorkerStatusLocal(BaseModel):
    """What a worker says of itself."""

    worker_id: str
    status: WorkerStatusEnum
    job_id: str | None = None


class NodeStatus(BaseModel):
    """What is known of a node.

    Attributes:
        node_url: Where it is.
        status: `alive`, or `lost` when nothing was heard for 10 seconds.
        last_heartbeat: When it was heard of last: seconds since the epoch.
        workers: Its workers.
    """

    node_url: str
    status: Literal["alive", "lost"] = "alive"
    last_heartbeat: float
    workers: list["NodeWorker"] = Field(default_factory=list["NodeWorker"])


class NodeWorker(BaseModel):
    """A worker on a node."""

    worker_type: str
    worker_port: int
    worker_id: str
    worker_name: str
    worker_url: str


class LaunchStatus(BaseModel):
    """How far the launch of a worker is."""

    launch_id: str
    status: LaunchStatusEnum = LaunchStatusEnum.PENDING
    worker_id: str | None = None
    worker_name: str | None = None
    worker_url: str | None = None
    error: str | None = None


class ProxyWorker(BaseModel):
    """A worker type as the registry has it: which class, with which arguments, from where.

    Attributes:
        worker_type: The dotted name of the class. It is code: registering it takes the scope
            `admin`.
        worker_params: The arguments of its `__init__`.
        git_repo_url: The repository that it comes from; None for what is installed.
        git_branch: The branch.
        git_commit: The commit, which wins over the branch.
        git_working_dir: The folder in the repository that it is started from.
        git_project: The folder of the `pyproject.toml`, if that is another one.
    """

    worker_type: str
    worker_params: dict[str, Any] = Field(default_factory=dict[str, Any])
    git_repo_url: str | None = None
    git_branch: str | None = None
    git_commit: str | None = None
    git_working_dir: str | None = None
    git_project: str | None = None


# requests


class JobIdInput(BaseModel):
    """Names a job."""

    job_id: str


class WaitInput(BaseModel):
    """Names a job, and says how long to wait for it: seconds, an hour at most."""

    job_id: str
    timeout: float = Field(default=60.0, ge=0, le=3600)


class SubmitJobsInput(BaseModel):
    """Many jobs at once."""

    jobs: list[Job]


class JobStatuses(BaseModel):
    """The status of each of many jobs, in their order."""

    jobs: list[JobStatus]


class ListJobsInput(BaseModel):
    """Which jobs to list.

    Attributes:
        status: Only those in this state.
        schema_name: Only those of this type.
        limit: At most so many.
        after: The page's last id; those submitted after that job follow.
    """

    status: JobStatusEnum | None = None
    schema_name: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = None


class CancelOutput(BaseModel):
    """Whether a job was cancelled, or its worker asked to stop.

    False if it has finished, or nothing is known of it.
    """

    cancelled: bool


class RegisterJobToEndpointInput(BaseModel):
    """Routes a job type to a path of the gateway, such as `echo/run`."""

    job_type: JobType
    endpoint: Endpoint


class RegisterJobToWorkerInput(BaseModel):
    """Routes a job type to a worker that runs already."""

    job_type: JobType
    worker_url: WorkerUrl


class RegisterWorkerTypeInput(BaseModel):
    """Describes a worker type; see `ProxyWorker`."""

    # what is refused may be a password in an address
    model_config = ConfigDict(hide_input_in_errors=True)

    worker_name: WorkerTypeName
    worker_class: str
    worker_params: dict[str, Any] = Field(default_factory=dict[str, Any])
    materializer_name: str | None = None
    job_type: JobType | None = None
    git_repo_url: Annotated[str, AfterValidator(checked_url)] | None = None
    git_branch: str | None = None
    git_commit: str | None = None
    git_working_dir: str | None = None
    git_project: str | None = None

    @field_validator("worker_class")
    @classmethod
    def _importable(cls, name: str) -> str:
        package, _, _ = name.rpartition(".")
        if package in {"", "__main__"}:
            message = (
                f"nodes import it, so it takes a dotted name such as 'package.module.Class', and "
                f"found {name!r}; a class of the script itself can be launched and given to "
                "register_job_to_worker"
            )
            raise ValueError(message)
        return name


class RegisterJobSchemaToWorkerTypeInput(BaseModel):
    """Routes a job type to the workers of a type."""

    job_schema_name: JobType
    worker_type: str


class RegisterJobSchemaInput(BaseModel):
    """Makes the manager check the payloads of a job type.

    Attributes:
        job_schema_name: The job type.
        json_schema: The JSON Schema of its input.
    """

    job_schema_name: JobType
    json_schema: JsonSchema


class JobSchemaNameInput(BaseModel):
    """Names a job type."""

    job_schema_name: str


class LaunchWorkerInput(BaseModel):
    """Asks a manager to have a worker launched on a node."""

    node_url: str
    worker_type: str
    worker_name: str | None = None
    worker_url: str | None = None


class LaunchOutput(BaseModel):
    """Names a launch."""

    launch_id: str


class LaunchWorkerStatusInput(BaseModel):
    """Names a launch on a node."""

    node_url: str
    launch_id: str


class NodeLaunchWorkerInput(BaseModel):
    """Asks a node to launch a worker.

    Attributes:
        worker_type: What the registry calls it.
        worker_name: What the node is to call it.
        worker_url: Where it is to be.
        auto_connect_job_type: A job type that it is connected to when it is up.
        auto_connect_job_types: More of them.
    """

    worker_type: str
    worker_name: str | None = None
    worker_url: str | None = None
    auto_connect_job_type: str | None = None
    auto_connect_job_types: list[str] = Field(default_factory=list[str])

    @property
    def job_types(self) -> list[str]:
        """All of them."""
        one = self.auto_connect_job_type
        return list(dict.fromkeys([*([] if one is None else [one]), *self.auto_connect_job_types]))


class LaunchIdInput(BaseModel):
    """Names a launch."""

    launch_id: str


class WorkerIdInput(BaseModel):
    """Names a worker."""

    worker_id: str


class WorkerUrlInput(BaseModel):
    """Names a worker by where it is."""

    worker_url: str


class WorkerNameInput(BaseModel):
    """Names a worker of a node."""

    worker_name: str


class WorkerPortInput(BaseModel):
    """Names a worker of a node by its port."""

    worker_port: int


class WorkerStatuses(BaseModel):
    """All workers that are known."""

    workers: list[WorkerStatus]


class NodeStatuses(BaseModel):
    """All nodes that are known."""

    nodes: list[NodeStatus]


class RegisterNodeInput(BaseModel):
    """A node's word that it lives."""

    node_url: str
    workers: list[NodeWorker] = Field(default_factory=list[NodeWorker])


class BackendArgs(BaseModel):
    """A backend of jobs: its name among the entry points, and what its client is made with."""

    backend: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    kwargs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


class Mark(BaseModel):
    """A folder that a cluster keeps things in, and what stands in its file `id`."""

    folder: str
    id: str


class ConnectToClusterInput(BaseModel):
    """Makes a worker consume a queue, and tell a manager how it does.

    Attributes:
        backend_args: Where the jobs are.
        queue_name: The queue.
        cluster_url: The manager.
        mark: The folder that the worker has to see; None if the jobs are in none.
    """

    backend_args: BackendArgs
    queue_name: str
    cluster_url: str
    mark: Mark | None = None


class WorkerReport(BaseModel):
    """What a worker tells its manager when it has changed, and every few seconds."""

    worker_id: str
    worker_type: str
    worker_url: str
    status: WorkerStatusEnum
    job_id: str | None = None


class RegisterNodeOutput(BaseModel):
    """What a node needs to launch workers; only for holders of the scope `node`.

    Attributes:
        registry_url: Where the worker types are.
        backend_args: Where the jobs are.
        mark: The folder that the node has to see; None if the cluster keeps nothing in one.
        endpoint: Of the object store, where that is the registry.
        access_key: Likewise.
        secret_key: Likewise.
        bucket: Likewise.
        rabbitmq_host: Where RabbitMQ is, where that carries the jobs.
        rabbitmq_port: Likewise.
        rabbitmq_username: Likewise.
        rabbitmq_password: Likewise.
    """

    registry_url: Revealed
    backend_args: BackendArgs
    mark: Mark | None = None
    endpoint: str | None = None
    access_key: str | None = None
    secret_key: Revealed | None = None
    bucket: str | None = None
    rabbitmq_host: str | None = None
    rabbitmq_port: int | None = None
    rabbitmq_username: str | None = None
    rabbitmq_password: Revealed | None = None
