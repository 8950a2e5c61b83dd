"""What is pushed ahead keeps nobody waiting; what others send is a job with a ledger too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
import pytest
from pika import exceptions
from rabbitmq_harness import LedgerHarness, RabbitMQHarness

from mindtrace.jobs import Consumer, Orchestrator
from mindtrace.jobs.testing.harness import entry
from mindtrace.jobs.testing.waiting import Background
from mindtrace.jobs_rabbitmq import RabbitMQClient, names
from mindtrace.jobs_rabbitmq.address import Address
from mindtrace.jobs_rabbitmq.trouble import translated

if TYPE_CHECKING:
    from pathlib import Path

JOB = '{"payload": {}}'


class Recorder(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def run(self, job_dict: Any) -> None:
        self.seen.append(job_dict["id"])


@pytest.mark.rabbitmq
def test_lanes_that_share_a_number_of_jobs_do_not_wait_for_each_other(rabbitmq_url: str) -> None:
    with RabbitMQHarness(rabbitmq_url) as harness:
        queue = harness.queue()
        wanted = harness.store.publish(queue, [entry(body=JOB) for _ in range(400)])
        consumer = Recorder()
        consumer.connect_to_orchestrator(Orchestrator(harness.client), queue)

        running = Background(lambda: consumer.consume(num_messages=400, concurrency=4))

        assert running.result(within=40) == 400
        assert sorted(consumer.seen) == sorted(wanted)


@pytest.mark.rabbitmq
def test_a_job_of_somebody_without_the_ledger_runs_all_the_same(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    with LedgerHarness(rabbitmq_url, tmp_path / "ledgers") as harness:
        queue = harness.queue()
        main = names.Names.of(harness.namespace, queue).main
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
        channel = connection.channel()
        channel.basic_publish("", main, JOB.encode(), pika.BasicProperties(message_id="foreign"))
        channel.basic_publish("", main, b"")
        connection.close()
        plain = RabbitMQHarness.url_of(harness, harness.namespace)
        with RabbitMQClient.from_url(plain) as without:
            without.store.publish(queue, [entry("plain", body=JOB)])

        holder = harness.holder()
        found = harness.take_all(holder, queue, 9)

        assert {each.id: each.body for each in found if each.body} == {"foreign": JOB, "plain": JOB}
        assert len(found) == 3
        assert harness.counts(queue).leased == 3


@pytest.mark.parametrize("kind", ["ProbableAuthenticationError", "ProbableAccessDeniedError"])
def test_a_connection_that_breaks_while_logging_in_is_no_refusal(kind: str) -> None:
    probable = getattr(exceptions, kind)

    cut = translated(probable("Client was disconnected: StreamLostError: reset"), Address())
    refused = translated(probable("disconnected: ConnectionClosedByBroker: (403)"), Address())

    assert cut.transient
    assert not refused.transient
