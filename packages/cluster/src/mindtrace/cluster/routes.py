"""Where the jobs of a type go, and which workers they may find: documents of the state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.cluster.ports.state import StateStore

ORCHESTRATOR = "@orchestrator"
"""The target of jobs that wait in a queue for workers."""

TARGETS, AUTO_CONNECT, SCHEMAS = "targets", "auto_connect", "schemas"


class Route(NamedTuple):
    """Where the jobs of a type go.

    Attributes:
        schema_name: The job type.
        target: `@orchestrator`, or a path of the gateway such as `echo/run`.
    """

    schema_name: str
    target: str

    @property
    def is_queued(self) -> bool:
        """Whether workers take the jobs from a queue."""
        return self.target == ORCHESTRATOR


class Routes:
    """The routes of a cluster. Setting one replaces the earlier one of that job type."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def set(self, schema_name: str, target: str) -> None:
        """Say where the jobs of a type go from now on."""
        self._state.put(TARGETS, schema_name, {"target": target})

    def find(self, schema_name: str) -> Route | None:
        """Return where the jobs of a type go, or None."""
        found = self._state.get(TARGETS, schema_name)
        return None if found is None else Route(schema_name, found["target"])

    def find_all(self, schema_names: Sequence[str]) -> dict[str, Route]:
        """Return where the jobs of these types go, by type; nothing of those that go nowhere."""
        found = self._state.get_many(TARGETS, schema_names)
        return {name: Route(name, each["target"]) for name, each in found.items()}

    def all(self) -> list[Route]:
        """Return all routes."""
        return [Route(name, each["target"]) for name, each in self._state.all(TARGETS).items()]

    def connect(self, worker_type: str, schema_name: str) -> None:
        """Have workers of a type connected to the queue of a job type when they are launched."""
        both = {"worker_type": worker_type, "schema_name": schema_name}
        self._state.put(AUTO_CONNECT, json.dumps([worker_type, schema_name]), both)

    def job_types_of(self, worker_type: str) -> list[str]:
        """Return the job types that workers of a type are connected to: those that are queued."""
        queued = {each.schema_name for each in self.all() if each.is_queued}
        return [
            each["schema_name"]
            for each in self._state.all(AUTO_CONNECT).values()
            if each.get("worker_type") == worker_type and each["schema_name"] in queued
        ]

    def set_schema(self, schema_name: str, json_schema: dict[str, Any]) -> None:
        """Have payloads of a job type checked against a JSON Schema."""
        self._state.put(SCHEMAS, schema_name, json_schema)

    def schemas_of(self, schema_names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the JSON Schemas of the payloads of these job types, of those that have one."""
        return self._state.get_many(SCHEMAS, schema_names)

    def clear(self) -> None:
        """Forget all."""
        for kind in (TARGETS, AUTO_CONNECT, SCHEMAS):
            self._state.clear(kind)
