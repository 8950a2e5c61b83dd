"""The errors of this package.

    MindtraceError
    ├── ClusterError
    │   ├── StateUnavailableError     address, problem      (also ConnectionError)
    │   ├── RegistryUnavailableError  address, problem      (also ConnectionError)
    │   ├── WorkerTypeNotFoundError   name, known           (also KeyError)
    │   ├── JobTypeNotFoundError      name, known           (also KeyError)
    │   ├── NodeNotFoundError         url, known            (also KeyError)
    │   ├── OtherMachineError         folder
    │   ├── InvalidPayloadError       schema_name, problems (also ValueError)
    │   ├── InvalidSourceError        what, given, problem  (also ValueError)
    │   ├── CheckoutError             repository, problem
    │   ├── DependenciesError         project, problem
    │   └── RunScriptError            problem

Clients of a manager get these as `mindtrace.services.ServiceError`, with their names in
`remote_type`. One of jobs is raised with words of our own: `JobNotFoundError`.
"""

from collections.abc import Collection
from typing import ClassVar, Self

from mindtrace.core.errors import MindtraceError
from mindtrace.jobs import JobNotFoundError


class ClusterError(MindtraceError):
    """Is the base of the errors of this package."""


def unknown_job(job_id: str) -> JobNotFoundError:
    """Return the error about a job that nothing is known of."""
    return JobNotFoundError(
        job_id,
        f"Nothing is known of job {job_id!r}: it was not submitted to this cluster, or was "
        "cleared, or finished longer ago than MINDTRACE_CLUSTER__RESULT_TTL says.",
    )


def no_dead_letter(job_id: str) -> JobNotFoundError:
    """Return the error about a job that does not wait among those that failed."""
    return JobNotFoundError(
        job_id,
        f"Job {job_id!r} is not among the dead letters: it did not fail, or somebody has requeued "
        "or discarded it; see get_dlq_jobs.",
    )


class StateUnavailableError(ClusterError, ConnectionError):
    """Says that the state of the cluster cannot be read or written."""

    def __init__(self, address: str, problem: str) -> None:
        # one argument only: OSError, a base, would take two for an errno
        said = problem.rstrip(".")
        super().__init__(f"The state of the cluster at {address} cannot be used: {said}.")
        self.address = address
        self.problem = problem

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.address, self.problem)


class RegistryUnavailableError(ClusterError, ConnectionError):
    """Says that the registry of worker types cannot be read or written."""

    def __init__(self, address: str, problem: str) -> None:
        said = problem.rstrip(".")
        super().__init__(f"The registry of worker types at {address} cannot be used: {said}.")
        self.address = address
        self.problem = problem

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.address, self.problem)


class _NotRegisteredError(ClusterError, KeyError):
    kind: ClassVar[str]

    def __init__(self, name: str, known: Collection[str]) -> None:
        super().__init__(name, sorted(known))
        self.name = name
        self.known = sorted(known)

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return f"There is no {self.kind} {self.name!r}; registered are: {known}."


class WorkerTypeNotFoundError(_NotRegisteredError):
    """Says that nobody registered a worker type."""

    kind = "worker type"


class JobTypeNotFoundError(_NotRegisteredError):
    """Says that nobody registered a job type."""

    kind = "job type"


class NodeNotFoundError(ClusterError, KeyError):
    """Says that no node of that URL has joined."""

    def __init__(self, url: str, known: Collection[str]) -> None:
        super().__init__(url, sorted(known))
        self.url = url
        self.known = sorted(known)

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return f"No node at {self.url} has joined the cluster; those that have: {known}."


class OtherMachineError(ClusterError):
    """Says that a node or worker cannot join: the cluster keeps its things in files of its own."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return (
            f"The cluster keeps its jobs in {self.folder} of its manager's machine, which cannot "
            "be read from here: to use other machines, set MINDTRACE_CLUSTER__QUEUE_URL, "
            "MINDTRACE_CLUSTER__STATE_URL and MINDTRACE_CLUSTER__REGISTRY_URL where the manager "
            "runs."
        )


class InvalidPayloadError(ClusterError, ValueError):
    """Says that a payload does not fit the schema that was registered for its job type."""

    def __init__(self, schema_name: str, problems: list[str]) -> None:
        super().__init__(schema_name, problems)
        self.schema_name = schema_name
        self.problems = problems

    def __str__(self) -> str:
        return f"The payload does not fit {self.schema_name!r}: {'; '.join(self.problems)}."


class InvalidSourceError(ClusterError, ValueError):
    """Says that something cannot be checked out by that address or name."""

    def __init__(self, what: str, given: str, problem: str) -> None:
        super().__init__(what, given, problem)
        self.what = what
        self.given = given
        self.problem = problem

    def __str__(self) -> str:
        return f"The {self.what} {self.given!r} cannot be used: {self.problem}."


class CheckoutError(ClusterError):
    """Says that a repository could not be checked out."""

    def __init__(self, repository: str, problem: str) -> None:
        super().__init__(repository, problem)
        self.repository = repository
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.repository} cannot be checked out: {self.problem}."


class DependenciesError(ClusterError):
    """Says that what a project depends on could not be installed."""

    def __init__(self, project: str, problem: str) -> None:
        super().__init__(project, problem)
        self.project = project
        self.problem = problem

    def __str__(self) -> str:
        return f"The environment of {self.project} could not be made: {self.problem}."


class RunScriptError(ClusterError):
    """Says that a command cannot be run, or not as it was asked for."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"The command cannot be run: {self.problem}."
