"""What becomes of jobs of which nothing is known any more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_stores import Stores, jobs
from cluster_support import eventually

from mindtrace.cluster import ClusterManager
from mindtrace.cluster.core.types import WorkerStatus
from mindtrace.cluster.housekeeping import Housekeeping
from mindtrace.cluster.members import WORKERS
from mindtrace.cluster.ports.sqlite_state import SqliteState
from mindtrace.cluster.submission import UNROUTED
from mindtrace.jobs import Job

KEEP = 0.5


@pytest.fixture
def passing(open_stores: Callable[[float], Stores]) -> Stores:
    """Stores where outcomes are kept for a moment."""
    return open_stores(KEEP)


def house_of(stores: Stores) -> Housekeeping:
    return Housekeeping(stores.records, stores.members, stores.state, keep=KEEP, clock=stores.clock)


def test_finished_jobs_leave_the_index_when_their_outcome_is_forgotten(passing: Stores) -> None:
    done, failed = jobs(2)
    passing.submission.submit([done, failed])
    passing.work(failed.id)
    (waiting,), (nowhere,) = jobs(1), jobs(1, "other")
    passing.submission.submit([waiting, nowhere])
    housekeeping = house_of(passing)
    everything = [done.id, failed.id, waiting.id, nowhere.id]
    assert (housekeeping.tidy(), passing.indexed()) == (0, everything)

    eventually(lambda: passing.records.find(done.id) is None)
    passing.clock.sleep(2 * KEEP)

    assert housekeeping.tidy() == 2
    assert passing.indexed() == [failed.id, waiting.id]
    assert passing.state.get(UNROUTED, nowhere.id) is None
    assert passing.submission.status(failed.id).status == "failed"
    assert passing.submission.status(waiting.id).status == "queued"
    assert housekeeping.tidy() == 0


def test_old_jobs_that_wait_hide_none_behind_them(passing: Stores) -> None:
    passing.submission.submit(jobs(600))
    nowhere = jobs(3, "other")
    passing.submission.submit(nowhere)
    passing.clock.sleep(2 * KEEP)

    assert house_of(passing).tidy() == 3
    assert len(passing.state.indexed(0, 1000)) == 600


@pytest.mark.process
def test_a_manager_keeps_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__FOLDER", str(tmp_path))
    monkeypatch.setenv("MINDTRACE_CLUSTER__RESULT_TTL", "0.5")
    cluster: Any = ClusterManager.launch(host="localhost", port=0)
    with cluster:
        cluster.submit_job(Job(name="nowhere", payload={}))
        state = SqliteState(tmp_path)
        state.put(WORKERS, "old", WorkerStatus(worker_id="old", last_heartbeat=1.0).model_dump())

        eventually(lambda: state.indexed(0, 10) == [] and state.all(WORKERS) == {})
        state.close()
