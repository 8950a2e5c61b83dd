"""The floor of the Redis backend: plain `redis-py` with the smallest Lua that keeps a job.

Publishing is one EVALSHA of HSET and RPUSH; publishing many is a pipeline of 100 LPUSH, without a
table of bodies. Consuming reserves 50 with a deadline and acknowledges 50, two calls, with each
body decoded.
"""

import json
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import redis

from tools.benchmarks.floors.base import ClaimingFloor

_INSERT = """
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
return redis.call('rpush', KEYS[2], ARGV[1])
"""
_RESERVE = """
local ids = redis.call('lpop', KEYS[2], ARGV[1])
if not ids then return {{}, {}} end
local leased = {}
for _, id in ipairs(ids) do
  leased[#leased + 1] = ARGV[2]
  leased[#leased + 1] = id
end
redis.call('zadd', KEYS[3], unpack(leased))
return {ids, redis.call('hmget', KEYS[1], unpack(ids))}
"""
_ACK = """
redis.call('zrem', KEYS[2], unpack(ARGV))
return redis.call('hdel', KEYS[1], unpack(ARGV))
"""
_DEADLINE = "4102444800"
"""Of the leases: a floor's consumer never dies."""


class RedisFloor(ClaimingFloor):
    """Plain `redis-py` on one connection; its keys begin with a prefix of its own."""

    name = "raw redis-py"

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        untyped: Any = redis.Redis  # its own types are incomplete
        # no limit of time: `take` blocks for as long as it takes
        self._redis = untyped.from_url(url, socket_timeout=None)
        self._jobs, self._ready, self._leased, self._many = (
            f"{prefix}:floor:{what}" for what in ("jobs", "ready", "leased", "many")
        )
        self._insert, self._reserve, self._ack = (
            self._redis.script_load(script) for script in (_INSERT, _RESERVE, _ACK)
        )
        self._numbers = count()

    def insert(self, body: str) -> None:
        """Call HSET and RPUSH in one script."""
        self._redis.evalsha(self._insert, 2, self._jobs, self._ready, next(self._numbers), body)

    def insert_many(self, bodies: Sequence[str]) -> None:
        """Push bodies alone, in one pipeline."""
        with self._redis.pipeline(transaction=False) as pipe:
            for body in bodies:
                pipe.lpush(self._many, body)
            pipe.execute()

    def fill_many(self, bodies: Sequence[str]) -> None:
        """Call the script of `insert` in one pipeline."""
        with self._redis.pipeline(transaction=False) as pipe:
            for body in bodies:
                pipe.evalsha(self._insert, 2, self._jobs, self._ready, next(self._numbers), body)
            pipe.execute()

    def claim(self, limit: int) -> list[tuple[bytes, Any]]:
        """Reserve up to `limit` jobs in one script; decode them."""
        ids, bodies = self._redis.evalsha(
            self._reserve, 3, self._jobs, self._ready, self._leased, limit, _DEADLINE
        )
        return [(one, json.loads(body)) for one, body in zip(ids, bodies, strict=True)]

    def settle(self, claimed: list[tuple[bytes, Any]]) -> None:
        """Acknowledge what was reserved in one script."""
        self._redis.evalsha(self._ack, 2, self._jobs, self._leased, *(one for one, _ in claimed))

    def take(self, started: Callable[[Any], None]) -> None:
        """Block in BLMOVE for one job."""
        one = self._redis.blmove(self._ready, self._many, 0)
        started(json.loads(self._redis.hget(self._jobs, one)))
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrem(self._many, 1, one)
            pipe.hdel(self._jobs, one)
            pipe.execute()

    def empty(self) -> None:
        """Delete the keys."""
        self._redis.delete(self._jobs, self._ready, self._leased, self._many)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()
