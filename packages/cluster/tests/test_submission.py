"""Taking jobs in, and telling how they are; without a manager."""

from typing import Any

import pytest
from cluster_stores import QUEUE, Stores, jobs

from mindtrace.cluster.core.types import JobStatusEnum, ListJobsInput
from mindtrace.cluster.errors import InvalidPayloadError, JobTypeNotFoundError
from mindtrace.cluster.routes import ORCHESTRATOR
from mindtrace.cluster.submission import ENDPOINTS, Submission
from mindtrace.jobs import DuplicateJobError, JobNotFoundError


def words(statuses: list[Any]) -> list[str]:
    return [str(each.status) for each in statuses]


def test_a_call_may_be_repeated_when_nobody_knows_whether_it_worked(stores: Stores) -> None:
    done, failed, waiting = jobs(3)
    stores.submission.submit([done, failed])
    stores.work(failed.id)
    stores.submission.submit([waiting])
    (new,) = jobs(1)

    found = stores.submission.submit([done, failed, waiting, new])

    assert [each.job_id for each in found] == [done.id, failed.id, waiting.id, new.id]
    assert words(found) == ["completed", "failed", "queued", "queued"]
    assert found[0].output == {"done": True}
    assert stores.work() == [waiting.id, new.id]
    assert stores.indexed() == [done.id, failed.id, waiting.id, new.id]
    assert words(stores.submission.submit([done, new])) == ["completed", "completed"]


def test_an_id_of_another_type_is_refused(stores: Stores) -> None:
    (job,) = jobs(1)
    stores.records.declare("other")
    stores.routes.set("other", ORCHESTRATOR)
    stores.submission.submit([job])
    new, other = jobs(2, "other")
    other.id = job.id

    with pytest.raises(DuplicateJobError, match=f"exists in queue '{QUEUE}'"):
        stores.submission.submit([new, other])
    assert stores.work() == [job.id]


def test_a_list_of_all_kinds_of_jobs_is_in_order(stores: Stores) -> None:
    """They are looked up together, and in pages of 500."""
    many = jobs(501)
    (nowhere,), (cancelled, last) = jobs(1, "other"), jobs(2)
    stores.submission.submit(many)
    stores.submission.submit([nowhere, cancelled, last])
    stores.records.cancel(cancelled.id)

    found = stores.submission.list(ListJobsInput(limit=1000))

    assert [each.job_id for each in found] == [
        *(each.id for each in many),
        *(nowhere.id, cancelled.id, last.id),
    ]
    assert [str(each.status) for each in found[500:]] == ["queued", "error", "cancelled", "queued"]
    page = stores.submission.list(ListJobsInput(limit=2, after=many[499].id))
    assert [each.job_id for each in page] == [many[500].id, nowhere.id]
    rest = stores.submission.list(ListJobsInput(status=page[1].status))
    assert [each.job_id for each in rest] == [nowhere.id]


def test_what_is_wrong_with_a_payload_is_told_without_its_values(stores: Stores) -> None:
    """They may be secrets, and very long, and the manager logs what it refuses."""
    (job,) = jobs(1)
    job.payload = {"n": "secret" * 10_000, "more": 1, "kind": "secret"}
    stores.routes.set_schema(
        QUEUE,
        {
            "properties": {"n": {"type": "integer"}, "kind": {"enum": ["a"]}},
            "required": ["missing"],
            "additionalProperties": False,
        },
    )

    with pytest.raises(InvalidPayloadError) as caught:
        stores.submission.submit([job])

    said = str(caught.value)
    assert "secret" not in said
    assert len(said) < 1000
    assert "$.n: it does not fit {'type': 'integer'}" in said
    assert "$.kind: it does not fit {'enum': ['a']}" in said
    assert "'missing' is a required property" in said
    assert "('more' was unexpected)" in said
    assert stores.indexed() == []


def test_the_jobs_of_a_type_that_wait_are_removed_wherever_they_wait(stores: Stores) -> None:
    """Those for endpoints wait with those of other types; a type may have gone elsewhere before."""
    (early,), (nowhere,) = jobs(1), jobs(1, "other")
    stores.submission.submit([early])
    stores.records.declare(ENDPOINTS)
    stores.routes.set(QUEUE, "app/run")
    stores.routes.set("other", "app/run")
    late = jobs(2)
    stores.submission.submit([*late, nowhere])

    stores.submission.clear(QUEUE)

    left = stores.submission.list(ListJobsInput(status=JobStatusEnum.QUEUED))
    assert [each.job_id for each in left] == [nowhere.id]
    with pytest.raises(JobTypeNotFoundError, match="no job type 'unknown'; registered are: job, o"):
        stores.submission.clear("unknown")


def test_nobody_waits_for_a_job_when_the_manager_ends(stores: Stores) -> None:
    submission = Submission(stores.records, stores.routes, stores.state, is_ending=lambda: True)
    (job,) = jobs(1)
    submission.submit([job])

    assert submission.wait(job.id, 3600).status == "queued"


def test_a_list_behind_a_job_that_is_unknown_is_refused(stores: Stores) -> None:
    stores.submission.submit(jobs(1))

    with pytest.raises(JobNotFoundError, match="unknown"):
        stores.submission.list(ListJobsInput(after="unknown"))
