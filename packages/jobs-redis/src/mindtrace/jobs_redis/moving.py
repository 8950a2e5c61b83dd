"""The way out of a queue of the Redis store, and the way in: moving jobs between stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindtrace.jobs.errors import DuplicateJobError
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs_redis import packing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs.backend import StoredJob
    from mindtrace.jobs_redis.store import RedisStore

_PAGE = 5000


class RedisOutlet:
    """Reads what waits and lies dead in a queue, and removes what is elsewhere by then."""

    def __init__(self, store: RedisStore, queue: str) -> None:
        self._store = store
        self._queue = queue
        self._seen: set[str] = set()
        self._next: list[str] = []

    def take(self, limit: int) -> list[StoredJob]:
        """Return up to `limit` of the next jobs; see `Outlet.take`."""
        found: list[StoredJob] = []
        while len(found) < limit and (self._next or self._look()):
            wanted = limit - len(found)
            chosen, self._next = self._next[:wanted], self._next[wanted:]
            answer = self._store.server.call_again("fetch", self._queue, *chosen)
            found += packing.stored_of(answer)
        return found

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Remove jobs that were taken; return those that were not there any more."""
        return _taken_out(self._store, self._queue, jobs, {each.id: each.entry for each in jobs})

    def close(self) -> None:
        """Let go: nothing was held."""
        self._next = []

    def _look(self) -> bool:
        """List what is there and was not seen: in publish order, dead letters last."""
        waiting = [*self._listed("ready"), *self._listed("delayed")]
        ids = [job_id for _, job_id in sorted(waiting)]
        ids += [job_id for _, job_id in self._listed("dead")]
        self._next = [each for each in dict.fromkeys(ids) if each not in self._seen]
        self._seen.update(self._next)
        return bool(self._next)

    def _listed(self, kind: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while True:
            first = len(found)
            page = self._store.server.call_again(
                "survey", self._queue, kind, first, first + _PAGE - 1
            )
            if page == ["missing"]:
                self._store.unknown_queue(self._queue)
            found += zip(page[::2], page[1::2], strict=True)
            if len(page) < 2 * _PAGE:
                return found


class RedisInlet:
    """Adds jobs that come from another store."""

    def __init__(self, store: RedisStore, queue: str) -> None:
        self._store = store
        self._queue = queue
        self._entries: dict[str, int | str] = {}

    def add(self, jobs: Sequence[StoredJob]) -> None:
        """Add jobs with their state, counters and failures, all of them or none."""
        if not jobs:
            return
        answer = self._store.server.call_again("bring_in", self._queue, *packing.moved_args(jobs))
        if answer == ["missing"]:
            self._store.unknown_queue(self._queue)
        if answer[0] == "duplicate":
            raise DuplicateJobError(*answer[1:])
        self._entries |= dict(zip((each.id for each in jobs), answer, strict=True))

    def remove(self, jobs: Sequence[StoredJob]) -> list[StoredJob]:
        """Take back jobs added by this inlet; return those that were not waiting any more."""
        return _taken_out(self._store, self._queue, jobs, self._entries)

    def close(self) -> None:
        """Let go: nothing was held."""
        self._entries = {}


def _taken_out(
    store: RedisStore, queue: str, jobs: Sequence[StoredJob], entries: dict[str, int | str]
) -> list[StoredJob]:
    args: list[object] = []
    for job in jobs:
        dead = "1" if job.state == JobState.DEAD else "0"
        args += (job.id, entries.get(job.id, -1), job.delivery, dead)
    return [jobs[place] for place in store.server.call("take_out", queue, *args)]
