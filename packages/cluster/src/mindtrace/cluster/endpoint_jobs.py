"""`EndpointJobs`: calls endpoints for the jobs that are routed to them.

These jobs wait in a queue of their own like all others, and managers consume it. So a manager that
dies in the middle of a call loses none: another one, or the next, calls again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx

from mindtrace.cluster.core.types import JobStatusEnum
from mindtrace.cluster.outcome import JobEndedBadlyError, Outcome
from mindtrace.cluster.submission import ENDPOINTS
from mindtrace.core.log import get_logger
from mindtrace.jobs import Consumer, Reject, Retry
from mindtrace.services.calling import Bearer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.cluster.routes import Routes
    from mindtrace.jobs import JobDict, Orchestrator

AT_A_TIME = 64
"""Calls under way at most, for one manager."""

_log = get_logger(__name__)


class EndpointJobs(Consumer):
    """Consumes the queue of jobs for endpoints, in a thread of its own.

    Args:
        routes: Which type goes where.
        base: Returns the URL of this manager, through whose gateway the calls go.
        tokens: What the calls may show to the gateway.
    """

    def __init__(self, routes: Routes, base: Callable[[], str], tokens: list[str]) -> None:
        super().__init__(ENDPOINTS)
        self._routes = routes
        self._base = base
        self._tokens = tokens
        self._client: httpx.AsyncClient
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._consume, name="mindtrace-endpoint-jobs")

    def begin(self, orchestrator: Orchestrator) -> None:
        """Consume from now on."""
        self.connect(orchestrator)
        self._thread.start()

    def end(self) -> None:
        """Stop; calls under way are finished."""
        self._ending.set()
        self.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _connections(self) -> httpx.AsyncClient:
        # as long as a job takes: the gateway's own timeout bounds it
        limits = httpx.Timeout(None, connect=5.0)
        return httpx.AsyncClient(auth=Bearer(lambda: self._tokens), timeout=limits, trust_env=False)

    def _consume(self) -> None:
        while not self._ending.is_set():
            self._client = self._connections()  # they belong to an event loop, which ends with it
            try:
                self.consume(concurrency=AT_A_TIME)
            except Exception:  # noqa: BLE001 - whatever it is, the jobs that wait need a consumer
                _log.exception("Calling endpoints for jobs ended; it begins again")
                self._ending.wait(1.0)

    async def run(self, job_dict: JobDict) -> dict[str, Any]:
        """Call the endpoint of one job."""
        route = self._routes.find(job_dict["schema_name"])
        if route is None or route.is_queued:
            message = f"the jobs of {job_dict['schema_name']} go to no endpoint any more"
            raise Reject(message)
        url = f"{self._base().rstrip('/')}/{route.target.lstrip('/')}"
        try:
            answer = await self._client.post(url, json=_envelope(job_dict))
        except httpx.TransportError as error:
            # what an app does wrong, the gateway answers: so it is this manager that ends
            reason = f"the manager at {url} was not reached: {error}"
            raise Retry(1.0, reason) from error
        if "x-request-id" not in answer.headers:  # all that the gateway lets out has one
            reason = f"the manager at {url} ended in the middle of the call"
            raise Retry(1.0, reason)
        outcome = _outcome(answer)
        if outcome.status is not JobStatusEnum.COMPLETED:
            raise JobEndedBadlyError(outcome)
        return outcome.to_dict()


def _envelope(job: JobDict) -> dict[str, Any]:
    """Return the job as an endpoint gets it."""
    kept = ("id", "name", "schema_name", "created_at", "entrypoint", "priority", "payload")
    return {name: job[name] for name in kept}


def _outcome(answer: httpx.Response) -> Outcome:
    """Return the outcome that an endpoint's answer stands for; {} for what is not JSON."""
    try:
        found: Any = answer.json()
    except ValueError:
        found = {}
    if not answer.is_success:
        return Outcome(
            JobStatusEnum.FAILED, {"error": found or answer.text, "http": answer.status_code}
        )
    return Outcome.of(found)
