"""Taking jobs in: checking them, sending them where their type goes, and telling how they are."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema
from pydantic import BaseModel, TypeAdapter

from mindtrace.cluster.core.types import FINISHED, JobStatus, JobStatusEnum, ListJobsInput
from mindtrace.cluster.errors import InvalidPayloadError, JobTypeNotFoundError, unknown_job
from mindtrace.core.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mindtrace.cluster.ports.state import StateStore
    from mindtrace.cluster.records import Records
    from mindtrace.cluster.routes import Route, Routes
    from mindtrace.core.clock import Clock
    from mindtrace.jobs import Job

ENDPOINTS = "@endpoints"
"""The queue of the jobs that go to endpoints: managers take them from there and make the calls."""

UNROUTED = "unrouted"
PAGE = 500
"""Jobs that are looked at together."""

SAID = 20
"""Problems of a payload that are told."""

NAMING = frozenset({"required", "dependentRequired", "additionalProperties"})
"""What a schema may ask for whose messages name properties, and hold no values."""

LONGEST = 200
"""Characters of what is told of a problem."""

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Submission:
    """What clients do with jobs. Thread-safe.

    Args:
        records: What is known of jobs.
        routes: Where they go.
        state: Where the index is.
        clock: The time.
        is_ending: Tells whether the manager is about to end; then nobody waits for a job any more.
    """

    def __init__(
        self,
        records: Records,
        routes: Routes,
        state: StateStore,
        clock: Clock | None = None,
        *,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._records = records
        self._routes = routes
        self._state = state
        self._clock = clock or SystemClock()
        self._is_ending = is_ending

    def routes_of(self, jobs: Sequence[Job]) -> dict[str, Route]:
        """Return where jobs go now, by their types."""
        return self._routes.find_all(_types_of(jobs))

    def submit(
        self, jobs: Sequence[Job], routes: dict[str, Route] | None = None
    ) -> list[JobStatus]:
        """Send jobs where their types go, or where `routes` say; each is safe when this returns.

        A job whose type nobody registered is not sent; its status is `error`, and says so. One that
        was submitted before is not sent again, and its status is what became of it.

        Raises:
            InvalidPayloadError: a payload does not fit; none of the jobs is sent.
            DuplicateJobError: the id of one is that of a job of another type.
        """
        if routes is None:
            routes = self.routes_of(jobs)
        schemas = self._routes.schemas_of(_types_of(jobs))
        for each in jobs:
            check(each, schemas.get(each.schema_name))
        self._state.index([(each.id, each.schema_name) for each in jobs], self._clock.now())
        groups: dict[str, list[Job]] = {}
        for each in jobs:
            route = routes.get(each.schema_name)
            if route is not None:
                groups.setdefault(queue_of(route), []).append(each)
        finished: dict[str, JobStatus] = {}
        for queue, group in groups.items():
            finished |= self._records.publish(queue, group)
        return [
            finished.get(each.id)
            or JobStatus(job_id=each.id, status=JobStatusEnum.QUEUED, job=each)
            if each.schema_name in routes
            else self._unrouted(each)
            for each in jobs
        ]

    def _unrouted(self, job: Job) -> JobStatus:
        output = {"error": f"No job schema targeting found for job type {job.schema_name}"}
        self._state.put(UNROUTED, job.id, {"output": output, "job": job.model_dump(mode="json")})
        return JobStatus(job_id=job.id, status=JobStatusEnum.ERROR, output=output, job=job)

    def status(self, job_id: str) -> JobStatus:
        """Return how a job is.

        Raises:
            JobNotFoundError: nothing is known of it (any more).
        """
        found = None
        if self._state.number_of(job_id) is not None:  # else it was cleared, or is none of ours
            found = self._records.find(job_id) or self._of_unrouted(job_id)
        if found is None:
            raise unknown_job(job_id)
        return found

    def _of_unrouted(self, job_id: str) -> JobStatus | None:
        found = self._state.get(UNROUTED, job_id)
        return None if found is None else _unrouted(job_id, found)

    def _known(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """Return how these jobs are, without those that nothing is known of."""
        known = self._records.find_all(job_ids)
        others = [each for each in job_ids if each not in known]
        for job_id, document in self._state.get_many(UNROUTED, others).items():
            known[job_id] = _unrouted(job_id, document)
        return [known[each] for each in job_ids if each in known]

    def wait(self, job_id: str, seconds: float) -> JobStatus:
        """Return how a job is as soon as it has finished, or when the time is over.

        The time is over as well when the manager is about to end.
        """
        end = self._clock.monotonic() + seconds
        found = self.status(job_id)
        while found.status not in FINISHED:
            left = end - self._clock.monotonic()
            if left <= 0 or self._is_ending():
                break
            found = self._records.wait(job_id, left) or self.status(job_id)
        return found

    def clear(self, schema_name: str) -> None:
        """Remove the jobs of a type that wait.

        Raises:
            JobTypeNotFoundError: nobody registered it.
        """
        route = self._routes.find(schema_name)
        if route is None:
            known = [each.schema_name for each in self._routes.all()]
            raise JobTypeNotFoundError(schema_name, known)
        self._records.purge(schema_name)  # they may have gone there before they went elsewhere
        if not route.is_queued:  # their queue is that of others as well
            asked = ListJobsInput(status=JobStatusEnum.QUEUED, schema_name=schema_name, limit=1000)
            while page := self.list(asked):
                for each in page:
                    self._records.cancel(each.job_id)
                asked = asked.model_copy(update={"after": page[-1].job_id})

    def list(self, asked: ListJobsInput) -> list[JobStatus]:
        """Return jobs in the order in which they were submitted.

        Raises:
            JobNotFoundError: nothing is known (any more) of the one that they are to follow.
        """
        after = 0
        if asked.after is not None:
            number = self._state.number_of(asked.after)
            if number is None:
                raise unknown_job(asked.after)
            after = number
        found: list[JobStatus] = []
        while len(found) < asked.limit:
            page = self._state.indexed(after, PAGE, asked.schema_name)
            if not page:
                break
            after = page[-1].number
            known = self._known([each.job_id for each in page])
            found += [each for each in known if asked.status in (None, each.status)]
        return found[: asked.limit]


def _unrouted(job_id: str, document: dict[str, Any]) -> JobStatus:
    return JobStatus(job_id=job_id, status=JobStatusEnum.ERROR, **document)


def _types_of(jobs: Sequence[Job]) -> list[str]:
    return list({each.schema_name for each in jobs})


def queue_of(route: Route) -> str:
    """Return the queue that jobs of a route wait in."""
    return route.schema_name if route.is_queued else ENDPOINTS


def check(job: Job, schema: dict[str, Any] | None) -> None:
    """Return if a job's payload fits a JSON Schema, or none is known.

    Raises:
        InvalidPayloadError: it does not.
    """
    if schema is None:
        return
    payload = job.payload
    plain = _ANY.dump_python(payload, mode="json") if isinstance(payload, BaseModel) else payload
    validator: Any = jsonschema.Draft202012Validator(schema)  # its types are partly unknown
    problems = [_problem(each) for each in islice(validator.iter_errors(plain), SAID)]
    if problems:
        raise InvalidPayloadError(job.schema_name, problems)


def _problem(error: Any) -> str:
    """Return what is wrong, without the value that is: it may be a secret, or very long."""
    if error.validator in NAMING:
        said = error.message
    else:
        said = f"it does not fit {{{error.validator!r}: {error.validator_value!r}}}"
    return f"{error.json_path[:LONGEST]}: {said[:LONGEST]}"
