"""What a manager is asked, and what is refused before anything is done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mindtrace.cluster import ClusterManager, Worker
from mindtrace.cluster.core.types import (
    RegisterJobSchemaInput,
    RegisterJobToEndpointInput,
    RegisterJobToWorkerInput,
    RegisterWorkerTypeInput,
)
from mindtrace.jobs import JobSchema, job_from_schema
from mindtrace.services import ServiceError

URL = "http://localhost:8004"


@pytest.mark.parametrize("name", ["", "@endpoints", "x" * 201])
def test_the_name_of_a_job_type_fits_a_queue(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a job type: expected 200 characters"):
        RegisterJobToWorkerInput(job_type=name, worker_url=URL)
    with pytest.raises(ValidationError, match="is no name of a job type"):
        RegisterJobSchemaInput(job_schema_name=name, json_schema={})


@pytest.mark.parametrize("url", ["here", "http://localhost:99999", "http://localhost:1/path", ""])
def test_the_url_of_a_worker_is_one(url: str) -> None:
    with pytest.raises(ValidationError, match="is no URL of a service"):
        RegisterJobToWorkerInput(job_type="job", worker_url=url)


@pytest.mark.parametrize("path", ["", "/", "@orchestrator", "http://localhost:8098/run"])
def test_an_endpoint_is_a_path_of_the_gateway(path: str) -> None:
    with pytest.raises(ValidationError, match="is no path of the gateway such as 'echo/run'"):
        RegisterJobToEndpointInput(job_type="job", endpoint=path)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "x" * 129])
def test_the_name_of_a_worker_type_fits_a_file(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a worker type"):
        RegisterWorkerTypeInput(worker_name=name, worker_class="a.B")


def test_a_json_schema_is_one() -> None:
    """Otherwise each job of the type would be refused, and nobody would know why."""
    with pytest.raises(ValidationError, match=r"no JSON Schema: \$.type: 'text' is not valid"):
        RegisterJobSchemaInput(job_schema_name="job", json_schema={"type": "text"})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
    manager = ClusterManager.launch(host="localhost", port=0)
    yield manager
    manager.end()


class Fails(Worker):
    def _run(self, job_dict: dict[str, Any]) -> Any:
        raise ValueError("no")


@pytest.mark.process
def test_clearing_forgets_the_jobs_of_a_type_that_went_elsewhere_since(cluster: Any) -> None:
    worker = Fails.launch(host="localhost", port=0)
    cluster.register_job_to_worker(job_type="job", worker_url=str(worker.url))
    job = job_from_schema(JobSchema(name="job"), {})
    cluster.submit_job(job)
    assert cluster.wait_for_job(job_id=job.id).status == "failed"
    cluster.register_job_to_endpoint(job_type="job", endpoint="app/run")

    cluster.clear_databases()

    assert cluster.get_dlq_jobs().jobs == []
    worker.end()


@pytest.mark.process
def test_what_is_not_known_is_told_with_words_of_the_cluster(cluster: Any) -> None:
    cluster.register_job_to_worker(job_type="job", worker_url="http://localhost:1")
    job = job_from_schema(JobSchema(name="job"), {})
    cluster.submit_job(job)

    with pytest.raises(ServiceError, match="it was not submitted to this cluster, or was cleared"):
        cluster.get_job_status(job_id="unknown")
    for each in (cluster.requeue_from_dlq, cluster.discard_from_dlq):
        with pytest.raises(ServiceError, match="is not among the dead letters") as caught:
            each(job_id=job.id)
        assert caught.value.remote_type == "JobNotFoundError"
    with pytest.raises(ServiceError, match="There is no job type 'other'; registered are: job"):
        cluster.clear_job_schema_queue(job_schema_name="other")
