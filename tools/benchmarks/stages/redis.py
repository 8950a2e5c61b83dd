"""The Redis backend beside plain `redis-py`, both with hiredis."""

from importlib.metadata import version
from typing import Any

from tools.benchmarks.libraries import REDIS_LIBRARIES
from tools.benchmarks.stage import Bars
from tools.benchmarks.stages.broker import BrokerStage
from tools.services.catalogue import REDIS
from tools.services.probe import redis_client

LEASE = 3.0
"""Seconds of the lease whose holder is killed: the default would only make the wait longer."""

RQ_SETS = ("rq:workers", "rq:queues")
"""What RQ keeps names in, of all its users."""


class RedisStage(BrokerStage):
    """Keys of one server."""

    name = "redis"
    bars = Bars(
        publish=0.7,
        publish_many=0.3,
        consume=0.3,
        p50=3.0,
        p99=15.0,
        takeover=LEASE + 1.0,
        peers_publish=None,
        peers_consume=3.0,
    )
    takeover_options = {"lease": LEASE}  # noqa: RUF012 - ClassVar in the base
    with_keepers = True
    service = REDIS
    libraries = REDIS_LIBRARIES
    raw = """\
Raw is redis-py with hiredis, as is ours: EVALSHA of HSET and RPUSH a job; many in pipelines of 100
LPUSH; consuming reserves 50 and acknowledges 50 in a script each, and decodes every body."""

    def facts(self) -> dict[str, str | int | float]:
        """Return versions, and whether the server writes to a disk."""
        with redis_client(self.url) as client:
            known = client.info()
        append = "on" if known["aof_enabled"] else "off"
        return {
            "server": self.where,
            "redis": f"{known['redis_version']} (appendonly {append})",
            "redis-py": version("redis"),
            "hiredis": version("hiredis"),
        }

    def wipe(self, prefix: str) -> None:
        """Remove the keys that have the prefix anywhere in their names."""
        with redis_client(self.url) as client:
            unlink(client, prefix)
            for name in RQ_SETS:
                for member in client.sscan_iter(name, f"*{prefix}*", count=10_000):
                    client.srem(name, member)


# Any: redis-py's own types are incomplete
def unlink(client: Any, part: str) -> None:
    """Remove the keys whose names have this part in them."""
    keys = list(client.scan_iter(f"*{part}*", count=10_000))
    for start in range(0, len(keys), 1000):
        client.unlink(*keys[start : start + 1000])
