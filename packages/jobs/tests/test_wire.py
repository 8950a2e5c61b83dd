"""How a job travels: its text, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_support import Pair, Sum, sums
from pydantic import BaseModel, ConfigDict

from mindtrace.jobs import (
    Job,
    JobSchema,
    JobType,
    JobValidationError,
    Orchestrator,
    PayloadTooLargeError,
    handler,
    wire,
)
from mindtrace.jobs.backend import Delivery, Entry, QueueOptions
from mindtrace.jobs.publishing import PLAIN, PublishOptions, Target, entries_of

NOW = 1_700_000_000.25
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def delivery(body: str, **facts: Any) -> Delivery:
    chosen: dict[str, Any] = {
        "entry": 1,
        "id": "one",
        "body": body,
        "delivery": 3,
        "attempts": 1,
        "lost": 2,
        "priority": 7,
        "keep": None,
        "queue": "tasks",
        **facts,
    }
    return Delivery(**chosen)


def entry(job: Job | BaseModel, schema: JobSchema | None = None, **options: Any) -> Entry:
    target = Target("tasks", "fifo", QueueOptions(), schema, None)
    chosen = PublishOptions(**options) if options else PLAIN
    return entries_of(target, [job], chosen, NOW, wire.MAX_PAYLOAD)[0]


def test_the_text_holds_what_differs_from_the_defaults_and_no_more() -> None:
    body = json.loads(entry(Job(name="any", payload=[1])).body)

    assert body.keys() == {"schema_name", "created_at", "payload"}


def test_the_text_holds_the_rest_when_there_is_some() -> None:
    job = Job(
        name="one",
        schema_name="kind",
        payload={},
        job_type=JobType.DATA_PROCESSING,
        entrypoint="x.py",
    )

    body = json.loads(entry(job, timeout=5).body)

    assert body["name"] == "one"
    assert body["job_type"] == "data_processing"
    assert body["entrypoint"] == "x.py"
    assert body["options"] == {"timeout": 5}


def test_a_bare_input_and_its_job_come_back_alike() -> None:
    bare = wire.decode(delivery(entry(Pair(a=1), sums()).body))
    whole = wire.decode(delivery(entry(Job(name="sums", payload=Pair(a=1)), sums()).body))

    for each in (bare, whole):
        each.pop("created_at")
    assert bare == whole


def test_a_bare_input_is_dated_by_the_clock_of_the_store() -> None:
    job = wire.decode(delivery(entry(Pair(), sums()).body))

    assert job.created_at == "2023-11-14T22:13:20.250000Z"


def test_a_bare_input_with_options_of_its_own_keeps_them() -> None:
    job = wire.decode(delivery(entry(Pair(a=1), sums(), timeout=3).body))

    assert job.options == {"timeout": 3}
    assert job.payload == {"a": 1, "b": 0}
    assert job.schema_name == "sums"


def test_what_the_store_knows_comes_with_the_job() -> None:
    job = wire.decode(delivery('{"payload": 5}'))

    assert (job.id, job.job_id, job.queue, job.priority) == ("one", "one", "tasks", 7)
    assert (job.delivery, job.attempts, job.lost) == (3, 1, 2)
    assert (job.name, job.schema_name, job.job_type) == ("tasks", "tasks", "default")


@given(payload=VALUES, name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_json_value_comes_back_as_it_was(payload: Any, name: str) -> None:
    body = entry(Job(name=name, payload=payload)).body

    job = wire.decode(delivery(body))

    assert job.payload == payload
    assert job.name == name
    assert job.schema_name == name


@pytest.mark.parametrize("body", ["", "{", "nothing", '"text"', "[1]", "5", "null", '{"x": 1}'])
def test_what_is_no_job_is_told_apart(body: str) -> None:
    with pytest.raises(wire.Undecodable):
        wire.decode(delivery(body))


def test_a_strict_model_takes_from_json_what_json_cannot_say_better() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        day: datetime
        parts: tuple[int, ...]

    schema = JobSchema(name="strict", input_schema=Strict)
    sent = Strict(day=datetime(2030, 1, 1, tzinfo=UTC), parts=(1, 2))

    read = wire.validate_payload(schema, json.loads(wire.to_text(sent, "strict")))

    assert read == sent


def test_a_schema_without_models_checks_nothing() -> None:
    schema = JobSchema(name="any")

    assert wire.validate_payload(schema, object()) is None
    assert wire.validate_output(schema, "anything") == "anything"


def test_an_output_is_read_as_its_model() -> None:
    assert wire.validate_output(sums(), {"total": 1}) == Sum(total=1)


def test_an_output_that_does_not_fit_is_called_a_result() -> None:
    with pytest.raises(JobValidationError, match="The result does not fit") as caught:
        wire.validate_output(sums(), {})

    assert (caught.value.part, caught.value.schema) == ("result", "sums")


def test_an_output_of_another_model_does_not_fit() -> None:
    with pytest.raises(JobValidationError, match="The result does not fit"):
        wire.validate_output(sums(), Pair())


def test_a_problem_of_the_whole_value_says_so() -> None:
    with pytest.raises(JobValidationError, match=r"the whole value: .*found int"):
        wire.validate_payload(sums(), 5)


@pytest.mark.parametrize(("size", "fits"), [(10, True), (11, False)])
def test_the_limit_is_met_to_the_byte(size: int, fits: bool) -> None:
    text = "x" * size

    if fits:
        wire.check_size(text, 10)
    else:
        with pytest.raises(PayloadTooLargeError) as caught:
            wire.check_size(text, 10)
        assert (caught.value.size, caught.value.limit) == (11, 10)


def test_wide_characters_that_fit_are_let_through() -> None:
    wire.check_size("ü" * 5, 10)


def test_options_in_time_become_seconds() -> None:
    assert PublishOptions(delay=5).seconds_of_delay(NOW) == 5
    assert PublishOptions().seconds_of_delay(NOW) == 0
    at = datetime.fromtimestamp(NOW + 7, UTC)
    assert PublishOptions(at=at).seconds_of_delay(NOW) == pytest.approx(7)
    assert PublishOptions(at=at).seconds_of_delay(NOW + 8) == 0


def test_infinities_and_nan_arrive_as_what_they_were(orchestrator: Orchestrator) -> None:
    class Bounds(BaseModel):
        low: float | None = None
        high: float = 0
        more: list[float] = []

    schema = JobSchema(name="bounds", input_schema=Bounds, output_schema=Bounds)
    seen: list[Bounds] = []

    @handler(schema)
    def echo(bounds: Bounds) -> Bounds:
        seen.append(bounds)
        return bounds

    sent = Bounds(low=float("-inf"), high=float("inf"), more=[float("nan"), 1])
    handle = orchestrator.submit(schema, sent)
    echo.connect(orchestrator)
    echo.consume_until_empty()

    for got in (seen[0], handle.result(timeout=1)):
        assert (got.low, got.high, got.more[1]) == (float("-inf"), float("inf"), 1)
        assert isnan(got.more[0])
