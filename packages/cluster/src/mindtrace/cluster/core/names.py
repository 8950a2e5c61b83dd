"""What names and addresses in requests have to look like."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, JsonValue

from mindtrace.services.urls import checked

_WORKER_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LONGEST = 200
"""Characters of a job type, which is the name of a queue."""


def checked_name(name: str) -> str:
    """Return the name of a worker type, or raise ValueError for what cannot be one."""
    if not _WORKER_TYPE.fullmatch(name):
        message = (
            f"{name[:LONGEST]!r} is no name of a worker type: expected letters, digits, '.', '_' "
            "and '-', 128 at most, beginning with a letter or a digit"
        )
        raise ValueError(message)
    return name


def _job_type(name: str) -> str:
    if not 0 < len(name) <= LONGEST or name.startswith("@"):
        message = (
            f"{name[:LONGEST]!r} is no name of a job type: expected {LONGEST} characters at most, "
            "not beginning with '@'"
        )
        raise ValueError(message)
    return name


def _endpoint(path: str) -> str:
    if not path.strip("/") or path.startswith("@") or "://" in path:
        message = (
            f"{path!r} is no path of the gateway such as 'echo/run'; a service at another address "
            "gets one by register_app"
        )
        raise ValueError(message)
    return path


def _url(url: str) -> str:
    checked(url)
    return url


def _json_schema(schema: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    import jsonschema  # noqa: PLC0415 - slow to load, and rarely needed

    validator: Any = jsonschema.Draft202012Validator  # its types are partly unknown
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        message = f"it is no JSON Schema: {error.json_path}: {error.message[:LONGEST]}"
        raise ValueError(message) from None
    return schema


WorkerTypeName = Annotated[str, AfterValidator(checked_name)]
"""The name of a worker type, and of the document that describes it."""

JobType = Annotated[str, AfterValidator(_job_type)]
"""The name of a job type. What begins with `@` is the manager's own."""

Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""A path of the gateway."""

WorkerUrl = Annotated[str, AfterValidator(_url)]
"""Where a worker is."""

JsonSchema = Annotated[dict[str, JsonValue], AfterValidator(_json_schema)]
"""A JSON Schema."""
