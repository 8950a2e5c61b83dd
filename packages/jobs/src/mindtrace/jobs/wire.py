"""How a job travels: the JSON text that is the body of an `Entry`, and back.

The text holds `payload` and `created_at`, and of the rest only what differs from its default. The
id, the priority and the counters travel beside it, for they belong to the store.
"""

from __future__ import annotations

import json
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, core_schema, from_json, to_json

from mindtrace.jobs.backend import Failure, Settlement
from mindtrace.jobs.errors import JobValidationError, PayloadTooLargeError
from mindtrace.jobs.ids import timestamp
from mindtrace.jobs.job import JobDict

if TYPE_CHECKING:
    from mindtrace.core import TaskSchema
    from mindtrace.jobs.backend import Delivery
    from mindtrace.jobs.job import Job

MAX_PAYLOAD = 16 * 1024 * 1024
"""Bytes of a job's text at most, unless the client says otherwise."""


MOST_PROBLEMS = 20
"""Problems that are named at most; the others are counted."""


class Undecodable(Exception):  # noqa: N818 - control flow, never leaves the package
    """A message is not a job."""


def model_text(value: BaseModel, schema: str, part: str = "payload") -> str:
    """Return a model as JSON text; see `to_text`."""
    try:
        # what model_dump_json calls, without its handling of options; round_trip leaves out what
        # validation would refuse to read again, such as computed fields
        text: str = value.__pydantic_serializer__.to_json(value, round_trip=True).decode()
        if "null" in text and _has_odd_float(plain := value.model_dump(round_trip=True)):
            # pydantic writes infinities and NaN as null; these come back as what they were
            text = to_json(plain, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, UnicodeError, ValueError, RecursionError) as error:
        raise _unwritable(schema, part, error) from error
    else:
        return text


def to_text(value: Any, schema: str, part: str = "payload") -> str:
    """Return a payload as JSON text.

    Raises:
        JobValidationError: a value in it has no JSON form.
    """
    if isinstance(value, BaseModel):
        return model_text(value, schema, part)
    try:
        return to_json(value).decode()
    except (PydanticSerializationError, UnicodeError, ValueError, RecursionError) as error:
        raise _unwritable(schema, part, error) from error


def _has_odd_float(value: Any) -> bool:
    if isinstance(value, float):
        return not isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_odd_float, value.values()))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return isinstance(value, list | tuple | set) and any(map(_has_odd_float, value))  # pyright: ignore[reportUnknownArgumentType]


def _unwritable(schema: str, part: str, error: Exception) -> JobValidationError:
    # a serializer of the user's own may quote the value; that of an unknown type names the type
    text = str(error)
    reason = text if text.startswith("Unable to serialize unknown type") else type(error).__name__
    return JobValidationError(schema, [f"it cannot be written as JSON: {reason}"], part=part)


@lru_cache(maxsize=256)
def _head(schema: str) -> str:
    return f'{{"schema_name":{json.dumps(schema)},"created_at":"'


def input_head(schema: str, now: float) -> str:
    """Return what stands before the payload of jobs that are nothing but the input of a schema."""
    return f'{_head(schema)}{timestamp(now)}","payload":'


def encode_job(job: Job, payload: Any, run_options: dict[str, Any]) -> str:
    """Return the body of a job; `run_options` are those given with the publish."""
    extra = {
        "name": job.name if job.name != job.schema_name else None,
        "job_type": job.job_type.value if job.job_type != "default" else None,
        "entrypoint": job.entrypoint,
        "options": run_options or None,
    }
    chosen = {key: value for key, value in extra.items() if value is not None}
    tail = f",{json.dumps(chosen)[1:-1]}" if chosen else ""
    created = json.dumps(job.created_at)[1:-1]
    return (
        f'{_head(job.schema_name)}{created}","payload":{to_text(payload, job.schema_name)}{tail}}}'
    )


def check_size(body: str, limit: int) -> None:
    """Raise if the text has more bytes than the limit."""
    # a character has 1 to 4 bytes: most texts are settled without encoding them
    if len(body) * 4 > limit and (size := len(body.encode())) > limit:
        raise PayloadTooLargeError(size, limit)


def decode(delivery: Delivery) -> JobDict:
    """Return the job of a delivery, with what the store knows of it.

    Raises:
        Undecodable: the body is not the text of a job.
    """
    try:
        job: Any = from_json(delivery.body)
    except ValueError as error:
        message = f"the message is not JSON: {error}"
        raise Undecodable(message) from None
    if job.__class__ is not dict or "payload" not in job:
        message = "the message is JSON but not a job: it is no object with a 'payload'"
        raise Undecodable(message)
    _, job_id, _, number, attempts, lost, priority, _, queue = delivery
    envelope: dict[str, Any] = job
    get = envelope.get
    schema = get("schema_name", queue)
    payload = envelope["payload"]
    return JobDict(
        {
            "id": job_id,
            "job_id": job_id,
            "name": get("name", schema),
            "schema_name": schema,
            "payload": payload,
            "input_data": payload,
            "status": "queued",
            "created_at": get("created_at"),
            "started_at": None,
            "completed_at": None,
            "error": None,
            "entrypoint": get("entrypoint"),
            "job_type": get("job_type", "default"),
            "options": get("options"),
            "priority": priority,
            "queue": queue,
            "delivery": number,
            "attempts": attempts,
            "lost": lost,
        }
    )


def undecodable(delivery: Delivery, error: Exception) -> Settlement:
    """Return the settlement of a delivery that no handler can get."""
    kind = "Undecodable" if isinstance(error, Undecodable) else type(error).__name__
    text = str(error).encode("utf-8", "replace").decode()
    failure = Failure("invalid", kind, text)
    return Settlement(delivery, "reject", attempts=delivery.attempts, failure=failure)


def problems_of(error: ValidationError) -> list[str]:
    """Return one sentence a field: where, what was expected, the type found; never a value."""
    problems: list[str] = []
    everything = error.errors(include_url=False, include_context=False)
    for each in everything[:MOST_PROBLEMS]:
        where = ".".join(str(part) for part in each["loc"]) or "the whole value"
        found = "" if each["type"] == "missing" else f", found {type(each['input']).__name__}"
        message = _plain(each["type"], each["msg"])
        problems.append(f"{where}: {message[:1].lower()}{message[1:]}{found}")
    if len(everything) > MOST_PROBLEMS:
        problems.append(f"and {len(everything) - MOST_PROBLEMS} more")
    return problems


def _plain(kind: str, message: str) -> str:
    """Return pydantic's message, unless it may quote the value."""
    if kind == "union_tag_invalid":
        return "the tag is none of those expected"
    if kind in {"value_error", "assertion_error"} or kind not in _known_kinds():
        return "refused by the model's own validator"
    return message


@lru_cache(maxsize=1)
def _known_kinds() -> frozenset[str]:
    return frozenset(get_args(core_schema.ErrorType))


def validate_payload(schema: TaskSchema, payload: Any) -> BaseModel | None:
    """Return the payload as the schema's input model (None for a schema without one).

    Raises:
        JobValidationError: it does not fit; each problem names the field and the type found.
    """
    model = schema.input_schema
    if model is None:
        return None
    return _validated(schema, model, payload, "payload")


def validate_output(schema: TaskSchema, output: Any) -> Any:
    """Return a handler's output as the schema's output model, where the schema has one.

    Raises:
        JobValidationError: it does not fit; each problem names the field and the type found.
    """
    model = schema.output_schema
    return output if model is None else _validated(schema, model, output, "result")


def _validated(schema: TaskSchema, model: type[BaseModel], value: Any, part: str) -> BaseModel:
    try:
        # what model_validate calls, without its handling of options. Our own text has the names of
        # the fields, what a user writes by hand may have their aliases.
        validate = model.__pydantic_validator__.validate_python
        valid: BaseModel = validate(value, by_alias=True, by_name=True)
    except ValidationError as error:
        problems = problems_of(error)
    except Exception as error:
        problems = [f"the model's own validator raised {type(error).__name__}"]
        raise JobValidationError(schema.name, problems, part=part) from error
    else:
        return valid
    if not isinstance(value, BaseModel):
        try:
            # a strict model takes a date or a tuple from JSON text, but not from plain values
            return model.model_validate_json(to_json(value), by_alias=True, by_name=True)
        except ValueError:
            pass  # the first attempt has the better words
    raise JobValidationError(schema.name, problems, part=part)


def read_result(schema: TaskSchema | None, text: str) -> Any:
    """Return a kept result as the schema's output model where that is known."""
    model = schema.output_schema if schema else None
    if model is None:
        return from_json(text)
    return model.model_validate_json(text, by_alias=True, by_name=True)
