"""The RabbitMQ backend beside plain `pika`."""

from importlib.metadata import version
from typing import Any

import pika

from mindtrace.jobs_rabbitmq.names import Names, directory
from tools.benchmarks.libraries import RABBITMQ_LIBRARIES
from tools.benchmarks.payload import QUEUE
from tools.benchmarks.stage import Bars
from tools.benchmarks.stages.broker import BrokerStage
from tools.services.catalogue import RABBITMQ

PEERS_ENDINGS = ("", ".DQ", ".XQ", ".dead")
"""Of the queues of peers; two are Dramatiq's, and the last one is TaskIQ's."""


class RabbitStage(BrokerStage):
    """Queues of one virtual host."""

    name = "rabbitmq"
    bars = Bars(
        publish=0.8,
        publish_many=0.8,
        consume=1.0,
        p50=5.0,
        p99=20.0,
        takeover=2.0,
        peers_publish=None,
        peers_consume=2.0,
    )
    with_results = False
    service = RABBITMQ
    libraries = RABBITMQ_LIBRARIES
    raw = """\
Raw is pika's BlockingConnection: a confirmed persistent publish a job; many unconfirmed, where ours
are all confirmed; consuming has a prefetch of 100 and acknowledges one by one, and decodes every
body."""

    def facts(self) -> dict[str, str | int | float]:
        """Return versions."""
        connection: Any
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            # nothing public tells what the server said of itself
            known = connection._impl.server_properties  # noqa: SLF001
        return {
            "server": self.where,
            "rabbitmq": known["version"],
            "pika": version("pika"),
        }

    def wipe(self, prefix: str) -> None:
        """Remove the queues and exchanges of the floor, of ours and of the peers.

        A client sees no names of others, so that all that may be there are told by name.
        """
        ours = Names.of(prefix, QUEUE)
        queues = [ours.main, ours.lost, ours.dead, directory(prefix), f"{prefix}.floor"]
        queues += [prefix + ending for ending in PEERS_ENDINGS]
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            for queue in queues:
                channel.queue_delete(queue)
            channel.exchange_delete(prefix)
