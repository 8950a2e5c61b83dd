"""Jobs that end in the dead letters of their queue, as the dead letters of the cluster."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pika
import pytest
from cluster_stores import QUEUE, Stores, jobs

from mindtrace.jobs.backend import Entry
from mindtrace.jobs_rabbitmq.names import Names

NO_JOBS = ["no JSON {", "[1, 2]", '{"a": 1}', "", '"text"']


def test_a_job_that_its_workers_died_over_is_there_once(stores: Stores) -> None:
    (job,) = jobs(1)
    stores.submission.submit([job])
    store = stores.records.orchestrator.backend.store

    for _ in range(5):
        holder = store.holder()
        received = holder.receive([QUEUE], limit=1, wait=10)
        assert [each.id for each in received.deliveries] == [job.id]
        holder.close()

    (found,) = stores.records.dead()
    assert (found.job_id, str(found.status), found.reason) == (job.id, "failed", "poison")
    assert found.job is not None
    assert found.job.payload == job.payload
    assert str(stores.submission.status(job.id).status) == "failed"
    assert stores.work() == []

    assert str(stores.records.requeue(job.id).status) == "queued"
    assert stores.records.dead() == []
    assert stores.work() == [job.id]


@pytest.mark.parametrize("body", NO_JOBS)
def test_what_is_no_job_is_there_once_with_what_it_was(stores: Stores, body: str) -> None:
    store = stores.records.orchestrator.backend.store
    store.publish(QUEUE, [Entry("odd", body, keep=100)])
    (job,) = jobs(1)
    stores.submission.submit([job])

    assert stores.work() == [job.id]

    (found,) = stores.records.dead()
    assert (found.job_id, str(found.status), found.reason) == ("odd", "failed", "invalid")
    assert found.job is None
    assert found.body == body
    assert found.output["error"]
    json.loads(found.model_dump_json())
    stores.records.discard("odd")
    assert stores.records.dead() == []


@pytest.mark.parametrize(
    ("body", "shown"), [('{"payload": null}', True), ('{"payload": 1, "name": 5}', False)]
)
def test_a_job_that_others_wrote_hides_no_dead_letter(
    stores: Stores, body: str, shown: bool
) -> None:
    """Whatever is in a queue, the others in it must still be seen."""
    store = stores.records.orchestrator.backend.store
    store.publish(QUEUE, [Entry("odd", body, keep=100)])
    (job,) = jobs(1)
    stores.submission.submit([job])
    stores.work("odd", job.id)

    odd, usual = stores.records.dead()

    assert (odd.job_id, odd.reason, odd.output["error"]) == ("odd", "failed", "no")
    assert (odd.job is not None) is shown
    assert odd.body == (None if shown else body)
    assert (usual.job_id, usual.job and usual.job.payload) == (job.id, job.payload)


@pytest.mark.parametrize(
    "open_stores",
    [pytest.param("rabbitmq", marks=[pytest.mark.redis, pytest.mark.rabbitmq])],
    indirect=True,
)
def test_what_others_put_into_the_broker_is_there_once(stores: Stores) -> None:
    """The ledger has never heard of it."""
    url = urlsplit(stores.places.queue)
    main = Names.of(parse_qs(url.query)["namespace"][0], QUEUE).main
    connection: Any
    with pika.BlockingConnection(pika.URLParameters(url._replace(query="").geturl())) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", main, b"garbage \xff", mandatory=True)
    (job,) = jobs(1)
    stores.submission.submit([job])

    assert stores.work() == [job.id]

    (found,) = stores.records.dead()
    assert (str(found.status), found.reason, found.job) == ("failed", "invalid", None)
    assert found.body == r"garbage \xff"
    stores.records.discard(found.job_id)
    assert stores.records.dead() == []
