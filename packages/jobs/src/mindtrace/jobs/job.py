"""What a user describes and publishes: `Job`, its schema, and the `JobDict` that a handler gets."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mindtrace.core import PositionalModel, TaskSchema
from mindtrace.core.clock import utcnow_iso
from mindtrace.jobs.ids import new_job_id
from mindtrace.jobs.routing import QUEUE_MAPPING, JobType

JobSchema = TaskSchema
"""The name of a job with the models of its input and output: the same class as `TaskSchema`."""


class ExecutionStatus(StrEnum):
    """How far a job is, as a user sees it."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobInput(PositionalModel):
    """An input model that also takes its fields by position, in the order of their declaration."""


class JobOutput(PositionalModel):
    """An output model that also takes its fields by position, in the order of their declaration."""


class JobDict(dict[str, Any]):
    """What `Consumer.run` gets: a dict whose keys also read as attributes.

    Keys: `id` (also as `job_id`), `name`, `schema_name`, `payload` (also as `input_data`: the same
    value), `status`, `created_at`, `started_at`, `completed_at`, `error`, `entrypoint`, `job_type`,
    `priority`, `queue`, and of this delivery: `delivery` (rises at each delivery, to fence side
    effects with), `attempts` (failed runs before this one) and `lost`.
    """

    def __getattr__(self, name: str) -> Any:
        """Read a key as an attribute."""
        try:
            return self[name]
        except KeyError:
            message = f"this job has no {name!r}; it has {', '.join(sorted(self))}"
            raise AttributeError(message) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Write a key as an attribute."""
        self[name] = value


class Job(BaseModel):
    """One unit of work; every field but `name` and `payload` has a default.

    Attributes:
        name: what the job is called; its schema's name by default goes with it.
        payload: the input model, a dict, any JSON value, or a schema built with an input instance
            (it stands for that input, under that schema).
        id: unique in the backend; by default a time-ordered UUID.
        schema_name: the schema it belongs to; the queue of its job type, or its name.
        job_type: routes the job when it is published without a queue.
        priority: used when publish is given none.
        entrypoint: a hint for the worker that runs it; carried, not interpreted.
        created_at: ISO 8601, UTC.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str
    payload: Any
    id: str = Field(default_factory=new_job_id, min_length=1, max_length=512)
    schema_name: str = ""
    job_type: JobType = JobType.DEFAULT
    status: ExecutionStatus = ExecutionStatus.QUEUED
    created_at: str = Field(default_factory=utcnow_iso)
    started_at: str | None = None
    completed_at: str | None = None
    error: str | None = None
    entrypoint: str | None = None
    priority: int | None = None

    @model_validator(mode="after")
    def _name_schema(self) -> Self:
        if not self.schema_name:
            explicit = self.job_type is not JobType.DEFAULT
            fallback = QUEUE_MAPPING[self.job_type] if explicit else self.name
            schema = self.payload.name if isinstance(self.payload, TaskSchema) else fallback
            object.__setattr__(self, "schema_name", schema)
        return self

    @property
    def input_data(self) -> Any:
        """The input as plain values, as older consumers read it."""
        value = input_of(self.payload)
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def input_of(payload: Any) -> Any:
    """Return the input that a payload stands for: of a schema, the instance it was built with."""
    if not isinstance(payload, TaskSchema):
        return payload
    if isinstance(payload.input, BaseModel):
        return payload.input
    return payload.input_schema() if payload.input_schema else {}


def job_from_schema(schema: TaskSchema, input_data: BaseModel | dict[str, Any]) -> Job:
    """Make a job of a schema; a dict is validated, its gaps filled from the schema's defaults.

    Raises:
        pydantic.ValidationError: the dict does not fit the schema's input model.
        TypeError: `input_data` is neither a dict nor an instance of that model.
    """
    model = schema.input_schema
    payload: Any = input_data
    if model is not None and not isinstance(input_data, model):
        if not isinstance(input_data, dict):
            message = (
                f"schema {schema.name!r} takes a {model.__name__} or a dict, "
                f"not {type(input_data).__name__}"
            )
            raise TypeError(message)
        given = {**schema.input_defaults, **input_data}
        payload = model.model_validate(given, by_alias=True, by_name=True)
    return Job(name=schema.name, schema_name=schema.name, payload=payload)
