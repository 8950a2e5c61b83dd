"""Taking jobs in, and telling how they are; without a manager."""

from typing import Any

import pytest
from cluster_stores import QUEUE, Stores, jobs

from mindtrace.cluster.core.types import ListJobsInput
from mindtrace.cluster.routes import ORCHESTRATOR
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


def test_a_list_behind_a_job_that_is_unknown_is_refused(stores: Stores) -> None:
    stores.submission.submit(jobs(1))

    with pytest.raises(JobNotFoundError, match="unknown"):
        stores.submission.list(ListJobsInput(after="unknown"))
