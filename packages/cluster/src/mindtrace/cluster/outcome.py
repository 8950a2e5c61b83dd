"""How a worker's run ends, and how that is written into the record of its job.

A worker returns `{"status": ..., "output": ...}`, a plain dict, a model, or nothing. What completed
is kept as the job's result; what failed becomes a dead letter whose message is the same text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import BaseModel, TypeAdapter

from mindtrace.cluster.core.types import JobStatusEnum

if TYPE_CHECKING:
    from mindtrace.jobs.backend import Failure

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_WORDS = frozenset({JobStatusEnum.COMPLETED, JobStatusEnum.FAILED, JobStatusEnum.ERROR})


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        status: `completed`, `failed` or `error`.
        output: What the worker returned; JSON values.
        worker_id: Which worker it was.
    """

    status: JobStatusEnum
    output: Any
    worker_id: str = ""

    @classmethod
    def of(cls, returned: object, worker_id: str = "") -> Outcome:
        """Return the outcome that a worker's return value stands for.

        Raises:
            ValueError: it has no JSON form, or its status is none of the three words.
        """
        plain: Any = (
            returned.model_dump(mode="json") if isinstance(returned, BaseModel) else returned
        )
        plain = _ANY.dump_python(plain, mode="json")
        if not isinstance(plain, dict):
            return cls(JobStatusEnum.COMPLETED, {} if plain is None else plain, worker_id)
        values = cast("dict[str, Any]", plain)
        if "status" not in values or not values.keys() <= _KEYS:
            return cls(JobStatusEnum.COMPLETED, values, worker_id)
        word = str(values["status"])
        if word not in _WORDS:
            message = f"a worker's status is completed, failed or error, not {word!r}"
            raise ValueError(message)
        return cls(JobStatusEnum(word), values.get("output", {}), worker_id)

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {"status": str(self.status), "output": self.output, "worker_id": self.worker_id}


_KEYS = {"status", "output", "worker_id"}
MOST = 60_000
"""Characters of a bad outcome that are kept, a little less than a dead letter has room for."""


def _fitting(outcome: Outcome) -> str:
    """Return an outcome as text that a dead letter holds whole; long texts in it keep their end."""
    text = json.dumps(outcome.to_dict())
    for longest in (20_000, 2_000, 200):
        if len(text) <= MOST:
            return text
        text = json.dumps(outcome._replace(output=_shortened(outcome.output, longest)).to_dict())
    if len(text) <= MOST:
        return text
    error = f"the output is too long to be kept: {len(json.dumps(outcome.output))} characters"
    return json.dumps(outcome._replace(output={"error": error}).to_dict())


def _shortened(value: Any, longest: int) -> Any:
    match value:
        case str() if len(value) > longest:
            return f"...{value[-longest:]}"
        case list():
            return [_shortened(each, longest) for each in cast("list[object]", value)]
        case dict():
            values = cast("dict[str, Any]", value)
            return {name: _shortened(each, longest) for name, each in values.items()}
        case _:
            return value


class JobEndedBadlyError(Exception):
    """Raised in a consumer so that the job becomes a dead letter with a worker's own words."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(_fitting(outcome))


def read_result(text: str | None) -> Outcome:
    """Return the outcome in a kept result."""
    found: Any = json.loads(text) if text else None
    if isinstance(found, dict) and found.keys() == _KEYS and found["status"] in _WORDS:
        return Outcome(JobStatusEnum(found["status"]), found["output"], found["worker_id"])
    return Outcome(JobStatusEnum.COMPLETED, {} if found is None else found)


def read_failure(failure: Failure | None) -> Outcome:
    """Return the outcome of a dead letter; what no worker said is told as an error's text."""
    if failure is None:
        return Outcome(JobStatusEnum.FAILED, {})
    if failure.error_type == JobEndedBadlyError.__name__:
        try:
            return read_result(failure.message)
        except ValueError:
            pass  # it was too long, and was cut
    output = {"error": failure.message, "error_type": failure.error_type, "reason": failure.reason}
    return Outcome(JobStatusEnum.FAILED, output)
