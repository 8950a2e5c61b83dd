"""What a user describes: jobs, their payloads, the dict a handler gets, and ids."""

from __future__ import annotations

import copy
import json
import pickle
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from jobs_support import Pair, run_python
from pydantic import BaseModel, ValidationError

from mindtrace.jobs import (
    ExecutionStatus,
    Job,
    JobDict,
    JobInput,
    JobOutput,
    JobSchema,
    JobType,
    job_from_schema,
)
from mindtrace.jobs.ids import new_job_id, timestamp
from mindtrace.jobs.job import input_of

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class TestJob:
    def test_all_but_name_and_payload_has_a_default(self) -> None:
        job = Job(name="any", payload={"x": 1})

        assert UUID7.fullmatch(job.id)
        assert job.schema_name == "any"
        assert job.job_type is JobType.DEFAULT
        assert job.status is ExecutionStatus.QUEUED
        assert (job.priority, job.entrypoint, job.error) == (None, None, None)
        assert (job.started_at, job.completed_at) == (None, None)

    def test_name_and_payload_have_none(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Job()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

        assert {each["loc"] for each in caught.value.errors()} == {("name",), ("payload",)}

    def test_it_is_dated_in_utc(self) -> None:
        job = Job(name="any", payload={})

        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job.created_at)

    @pytest.mark.parametrize(
        ("facts", "schema_name"),
        [
            ({}, "any"),
            ({"schema_name": "mine"}, "mine"),
            ({"job_type": JobType.ML_TRAINING}, "ml_training_jobs"),
            ({"job_type": "ml_training", "schema_name": "mine"}, "mine"),
            ({"payload": JobSchema(name="of the payload")}, "of the payload"),
            (
                {"payload": JobSchema(name="of the payload"), "job_type": "classification"},
                "of the payload",
            ),
        ],
    )
    def test_its_schema_is_named_after_what_is_known(
        self, facts: dict[str, Any], schema_name: str
    ) -> None:
        chosen: dict[str, Any] = {"name": "any", "payload": {}, **facts}

        assert Job(**chosen).schema_name == schema_name

    @pytest.mark.parametrize("job_id", ["", "x" * 513])
    def test_an_id_has_one_to_512_characters(self, job_id: str) -> None:
        with pytest.raises(ValidationError):
            Job(id=job_id, name="any", payload={})

    def test_a_refused_field_is_not_quoted(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Job(name="any", payload={}, priority="hunter2")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("payload", "data"),
        [
            ({"a": 1}, {"a": 1}),
            (Pair(a=1), {"a": 1, "b": 0}),
            (JobSchema(name="s", input=Pair(b=2)), {"a": 0, "b": 2}),
            (JobSchema(name="s", input_schema=Pair), {"a": 0, "b": 0}),
            (JobSchema(name="s"), {}),
            (5, 5),
        ],
    )
    def test_its_input_reads_as_plain_values(self, payload: Any, data: Any) -> None:
        assert Job(name="any", payload=payload).input_data == data

    def test_a_payload_stands_for_itself_unless_it_is_a_schema(self) -> None:
        pair = Pair(a=1)

        assert input_of(pair) is pair
        assert input_of(JobSchema(name="s", input=pair)) is pair


class TestJobFromSchema:
    def test_a_model_is_taken_as_it_is(self) -> None:
        pair = Pair(a=1)

        job = job_from_schema(JobSchema(name="sums", input_schema=Pair), pair)

        assert job.payload is pair
        assert (job.name, job.schema_name) == ("sums", "sums")

    def test_a_subclass_of_the_model_too(self) -> None:
        class Triple(Pair):
            c: float = 0

        job = job_from_schema(JobSchema(name="sums", input_schema=Pair), Triple(c=1))

        assert job.payload == Triple(c=1)

    def test_a_dict_wins_over_the_defaults_of_the_instance(self) -> None:
        schema = JobSchema(name="sums", input=Pair(a=1, b=2))

        assert job_from_schema(schema, {"b": 3}).payload == Pair(a=1, b=3)

    def test_the_defaults_are_not_shared(self) -> None:
        class Many(BaseModel):
            items: list[int]

        schema = JobSchema(name="many", input=Many(items=[1]))

        job_from_schema(schema, {}).payload.items.append(2)

        assert job_from_schema(schema, {}).payload == Many(items=[1])

    def test_without_a_model_anything_goes(self) -> None:
        schema = JobSchema(name="any")

        assert job_from_schema(schema, {"x": 1}).payload == {"x": 1}
        assert job_from_schema(schema, Pair(a=1)).payload == Pair(a=1)

    def test_what_is_neither_is_a_type_error_that_names_both(self) -> None:
        schema = JobSchema(name="sums", input_schema=Pair)

        with pytest.raises(TypeError, match="'sums' takes a Pair or a dict, not list"):
            job_from_schema(schema, [1])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    def test_two_jobs_of_one_input_are_two(self) -> None:
        schema = JobSchema(name="sums", input_schema=Pair)

        assert job_from_schema(schema, {}).id != job_from_schema(schema, {}).id


class TestPositionalModels:
    class Size(JobInput):
        width: int
        height: int = 1

    class Area(JobOutput):
        area: int

    def test_fields_are_taken_in_their_order(self) -> None:
        assert self.Size(2, 3) == self.Size(width=2, height=3)  # pyright: ignore[reportCallIssue]
        assert self.Size(2) == self.Size(width=2)  # pyright: ignore[reportCallIssue]
        assert self.Area(6).model_dump() == {"area": 6}  # pyright: ignore[reportCallIssue]

    def test_a_field_given_twice_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="'width'"):
            self.Size(2, width=3)  # pyright: ignore[reportCallIssue]

    def test_they_are_validated_as_any_model(self) -> None:
        with pytest.raises(ValidationError):
            self.Size("wide")  # pyright: ignore[reportCallIssue]


class TestJobDict:
    def test_keys_read_and_write_as_attributes(self) -> None:
        job = JobDict({"id": "one"})

        job.extra = 5

        assert job.id == job["id"] == "one"
        assert job["extra"] == 5

    def test_a_key_that_is_missing_is_an_attribute_error_that_names_the_others(self) -> None:
        job = JobDict({"id": "one", "payload": {}})

        assert not hasattr(job, "nothing")
        with pytest.raises(AttributeError, match="'nothing'; it has id, payload"):
            _ = job.nothing

    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
    def test_it_can_be_copied(self, how: Any) -> None:
        job = JobDict({"id": "one", "payload": {"x": [1]}})

        again = how(job)

        assert again == job
        assert isinstance(again, JobDict)

    def test_it_survives_pickling_and_json(self) -> None:
        job = JobDict({"id": "one", "payload": {"x": [1]}})

        assert pickle.loads(pickle.dumps(job)) == job
        assert json.loads(json.dumps(job)) == job


class TestIds:
    def test_ids_are_uuids_of_version_seven(self) -> None:
        assert all(UUID7.fullmatch(new_job_id()) for _ in range(100))

    def test_they_rise_with_time(self) -> None:
        ids = [new_job_id() for _ in range(1000)]
        prefixes = [each[:18] for each in ids]

        assert len(set(ids)) == 1000
        assert prefixes == sorted(prefixes)

    def test_a_seeded_generator_of_the_user_changes_nothing(self) -> None:
        random.seed(1)
        first = new_job_id()
        random.seed(1)

        assert new_job_id()[19:] != first[19:]

    @pytest.mark.process
    def test_a_forked_child_draws_others(self) -> None:
        code = """
import os
from mindtrace.jobs.ids import new_job_id
new_job_id()
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, new_job_id()[19:].encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(read, 100).decode() != new_job_id()[19:])
"""

        assert run_python(code) == "True"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_700_000_000.5, "2023-11-14T22:13:20.500000Z"),
            (1_700_000_000.25, "2023-11-14T22:13:20.250000Z"),
        ],
    )
    def test_a_moment_is_written_in_utc(self, seconds: float, text: str) -> None:
        assert timestamp(seconds) == text
        assert datetime.fromisoformat(text).tzinfo == UTC
