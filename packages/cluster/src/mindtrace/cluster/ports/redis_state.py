"""`RedisState`: the state of a cluster of several machines, in Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.exceptions import NoPermissionError, OutOfMemoryError

from mindtrace.cluster.errors import StateUnavailableError
from mindtrace.cluster.ports.state import Indexed
from mindtrace.jobs_redis.failing import meaning_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PREFIX = "{mindtrace-cluster}"
"""What every key begins with; the braces keep them on one node of a Redis Cluster."""

# KEYS: the last number, the number of each job, the jobs by number
_INDEX = """
for i = 2, #ARGV, 2 do
  local number = redis.call('HGET', KEYS[2], ARGV[i])
  if number then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], number, number)
  else
    number = redis.call('INCR', KEYS[1])
    redis.call('HSET', KEYS[2], ARGV[i], number)
  end
  redis.call('ZADD', KEYS[3], number, cjson.encode({number, ARGV[i], ARGV[i + 1], ARGV[1]}))
end
"""
_FORGET = """
local count = 0
for i = 2, #ARGV do
  local number = redis.call('HGET', KEYS[2], ARGV[i])
  local found = number and redis.call('ZRANGEBYSCORE', KEYS[3], number, number)[1]
  if found and tonumber(cjson.decode(found)[4]) < tonumber(ARGV[1]) then
    redis.call('ZREM', KEYS[3], found)
    redis.call('HDEL', KEYS[2], ARGV[i])
    count = count + 1
  end
end
return count
"""
PAGE = 1000


class RedisState:
    """Documents in hashes, the index in a sorted set; see `StateStore`.

    Args:
        url: `redis://` or `rediss://`; `?namespace=` at its end keeps several clusters on one
            server apart, as it does for jobs.
        namespace: The same, by itself.
    """

    def __init__(self, url: str, namespace: str = "") -> None:
        parts = urlsplit(url)
        said = dict(parse_qsl(parts.query))
        namespace = namespace or said.pop("namespace", "")
        url = urlunsplit(parts._replace(query=urlencode(said)))
        self._redis = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            decode_responses=True,
            socket_timeout=10,
            socket_connect_timeout=5,
            health_check_interval=30,
        )
        facts = self._redis.connection_pool.connection_kwargs
        self.address = f"{facts.get('host', 'localhost')}:{facts.get('port', 6379)}"
        self._base = f"{PREFIX}:{namespace}" if namespace else PREFIX
        self._scripts: dict[str, Any] = {
            each: self._redis.register_script(each) for each in (_INDEX, _FORGET)
        }

    def put(self, kind: str, key: str, document: dict[str, Any]) -> None:
        """Write a document, in place of an earlier one."""
        self._call(lambda r: r.hset(self._key(kind), key, json.dumps(document)))

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a document, or None."""
        found = self._call(lambda r: r.hget(self._key(kind), key))
        return None if found is None else json.loads(found)

    def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return those documents of a kind that are there, by key."""
        if not keys:
            return {}
        found = self._call(lambda r: r.hmget(self._key(kind), list(keys)))
        pairs = zip(keys, found, strict=True)
        return {key: json.loads(text) for key, text in pairs if text is not None}

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the documents of a kind by key."""
        found = cast("dict[str, str]", self._call(lambda r: r.hgetall(self._key(kind))))
        return {key: json.loads(found[key]) for key in sorted(found)}

    def remove(self, kind: str, key: str) -> bool:
        """Remove a document; tell whether there was one."""
        return bool(self._call(lambda r: r.hdel(self._key(kind), key)))

    def clear(self, kind: str) -> None:
        """Remove the documents of a kind."""
        self._call(lambda r: r.delete(self._key(kind)))

    def index(self, jobs: Sequence[tuple[str, str]], now: float) -> None:
        """Add jobs to the end of the index; one that is there keeps its place."""
        for start in range(0, len(jobs), PAGE):
            flat = [each for job in jobs[start : start + PAGE] for each in job]
            self._run(_INDEX, now, *flat)

    def indexed(self, after: int, limit: int, schema_name: str | None = None) -> list[Indexed]:
        """Return up to `limit` jobs behind a number, in the order of their places."""
        found: list[Indexed] = []
        at_once = limit if schema_name is None else PAGE
        while len(found) < limit:
            page = self._page(after, at_once)
            if not page:
                break
            after = page[-1].number
            found += [each for each in page if schema_name in (None, each.schema_name)]
        return found[:limit]

    def number_of(self, job_id: str) -> int | None:
        """Return the number of a job in the index, or None."""
        found = self._call(lambda r: r.hget(self._key("@numbers"), job_id))
        return None if found is None else int(found)

    def forget(self, job_ids: Sequence[str], before: float) -> int:
        """Remove those of these jobs from the index that were submitted before a time."""
        pages = [job_ids[start : start + PAGE] for start in range(0, len(job_ids), PAGE)]
        return sum(int(self._run(_FORGET, before, *page)) for page in pages)

    def clear_index(self) -> None:
        """Remove all jobs from the index."""
        self._call(lambda r: r.delete(self._key("@jobs"), self._key("@numbers")))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _page(self, after: int, limit: int) -> list[Indexed]:
        found = self._call(
            lambda r: r.zrangebyscore(self._key("@jobs"), f"({after}", "+inf", start=0, num=limit)
        )
        rows = [json.loads(each) for each in found]
        return [Indexed(int(row[0]), row[1], row[2], float(row[3])) for row in rows]

    # Any: as `_call`
    def _run(self, script: str, *args: Any) -> Any:
        keys = [self._key("@number"), self._key("@numbers"), self._key("@jobs")]
        return self._call(lambda _: self._scripts[script](keys=keys, args=args))

    def _key(self, kind: str) -> str:
        return f"{self._base}:{kind}"

    # Any: redis-py's answers have no useful types
    def _call(self, work: Callable[[Any], Any]) -> Any:
        try:
            return work(self._redis)
        except redis.RedisError as error:
            raise StateUnavailableError(self.address, _reason(error)) from error


def _reason(error: redis.RedisError) -> str:
    match error:
        case redis.AuthenticationError():
            return "the user name or the password is wrong"
        case NoPermissionError():
            return f"this user may not do what it takes; grant it ~{PREFIX}* and +@all -@admin"
        case OutOfMemoryError():
            return "its memory is full; raise maxmemory"
        case _:
            return meaning_of(error).reason
