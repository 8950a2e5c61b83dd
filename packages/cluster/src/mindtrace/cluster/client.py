"""Calls to a manager: those that are more than a call, and those of nodes and workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mindtrace.cluster.core.types import (
    JobStatus,
    RegisterNodeInput,
    RegisterNodeOutput,
    WaitInput,
    WorkerReport,
)
from mindtrace.cluster.tokens import client_tokens, member_tokens
from mindtrace.core.task import TaskSchema
from mindtrace.services.connection_manager import ConnectionManager
from mindtrace.services.endpoints import make_endpoint
from mindtrace.services.gateway.gateway_connection_manager import GatewayConnectionManager

if TYPE_CHECKING:
    from collections.abc import Callable


def _unused(payload: object) -> None:
    del payload


_REPORT = make_endpoint(
    "/worker_report",
    _unused,
    TaskSchema(name="worker_report", input_schema=WorkerReport),
    repeatable=True,
)
_REGISTER = make_endpoint(
    "/register_node",
    _unused,
    TaskSchema(
        name="register_node", input_schema=RegisterNodeInput, output_schema=RegisterNodeOutput
    ),
    repeatable=True,
)

_WAIT = make_endpoint(
    "/wait_for_job",
    _unused,
    TaskSchema(name="wait_for_job", input_schema=WaitInput, output_schema=JobStatus),
    repeatable=True,
)

LEEWAY = 30.0
"""Seconds that a manager may be silent beyond those that it was told to wait."""

START_WITHIN = 3600.0
"""Seconds that a worker may take to be connected: its `start` loads what takes long."""

PATIENCE = 5.0
"""Seconds that a manager may be silent before it counts as away."""


class ClusterConnectionManager(GatewayConnectionManager):
    """A client of a manager."""

    def _token_finder(self) -> Callable[[], list[str]]:
        return partial(client_tokens, self._url, super()._token_finder()(), self.config)

    def wait_for_job(self, job_id: str, timeout: float = 60.0) -> JobStatus:
        """Return how a job is as soon as it has finished, or after `timeout` seconds.

        An hour at most; look at the status.
        """
        asked = WaitInput(job_id=job_id, timeout=timeout)
        found: JobStatus = self.call(_WAIT, asked, timeout=timeout + LEEWAY)
        return found

    async def await_for_job(self, job_id: str, timeout: float = 60.0) -> JobStatus:  # noqa: ASYNC109 - the manager waits, not we
        """Do what `wait_for_job` does."""
        asked = WaitInput(job_id=job_id, timeout=timeout)
        found: JobStatus = await self.acall(_WAIT, asked, timeout=timeout + LEEWAY)
        return found


class MemberConnectionManager(ConnectionManager):
    """What members of a cluster say to each other: a client of a node or a worker."""

    def _token_finder(self) -> Callable[[], list[str]]:
        return partial(member_tokens, self._url, super()._token_finder()(), self.config)


class ManagerClient(MemberConnectionManager):
    """What nodes and workers say to a manager."""

    def report(self, report: WorkerReport) -> None:
        """Say how a worker does."""
        self.call(_REPORT, report, timeout=PATIENCE)

    def register_node(self, node: RegisterNodeInput) -> RegisterNodeOutput:
        """Say that a node lives, and learn what it needs."""
        answer: RegisterNodeOutput = self.call(_REGISTER, node, timeout=PATIENCE)
        return answer
