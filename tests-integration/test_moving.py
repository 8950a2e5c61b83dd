"""Jobs that move from backend to backend, and a mover that is killed on every way.

What is moved has passed all states: ready, delayed, failed before, lost before, dead. At the end of
each way every job is in one place, and it is the job that it was.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from mindtrace.jobs import OrchestratorBackend, backend_from_url, migrate
from mindtrace.jobs.backend import QueueSpec, QueueType, StoredJob
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import ack, entry, nack, reject
from mindtrace.jobs.testing.waiting import pause

QUEUE = "moving"
DAY = 24 * 3600.0
BROKER_NOTICES = 30.0
"""Seconds that a broker has to give back what a killed mover had taken out."""

MOVE = """
import os, sys
from mindtrace.jobs import backend_from_url, migrate
source, target = map(backend_from_url, sys.argv[1:])
source.store.queues(), target.store.queues()
os.write(1, b"go\\n")
migrate(source, target, batch_size=3)
"""

JOURNEY = ["local", "redis", "rabbitmq", "local"]
WAYS = [
    *(pytest.param(["local", "local"], id="local-local"),),
    # parts of the whole journey, for when that one fails
    pytest.param(
        ["local", "redis", "local"], id="redis", marks=[pytest.mark.redis, pytest.mark.stress]
    ),
    pytest.param(
        ["local", "rabbitmq", "local"],
        id="rabbitmq",
        marks=[pytest.mark.rabbitmq, pytest.mark.stress],
    ),
    pytest.param(JOURNEY, id="all", marks=[pytest.mark.redis, pytest.mark.rabbitmq]),
]


class Places:
    """The addresses of a journey; a server is asked for only where the journey goes."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request = request
        self._folder = folder

    def urls(self, kinds: Sequence[str]) -> list[str]:
        return [self._url(kind, number) for number, kind in enumerate(kinds)]

    def _url(self, kind: str, number: int) -> str:
        if kind == "local":
            return f"sqlite:///{self._folder / str(number)}"
        url: str = self._request.getfixturevalue(f"{kind}_url")
        return url


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(request, tmp_path)


def look(client: OrchestratorBackend) -> list[StoredJob]:
    """Return all that waits or lies dead."""
    if QUEUE not in client.store.queues():
        return []
    with closing(client.store.outlet(QUEUE)) as outlet:
        return outlet.take(1_000_000)


def by_id(jobs: Sequence[StoredJob]) -> dict[str, StoredJob]:
    """Return jobs by id; each is there once."""
    found = {job.id: job for job in jobs}
    assert len(found) == len(jobs), "a job is there twice"
    return found


def seconds(job: StoredJob) -> Iterator[float]:
    """List the times of a job, to the tenth: a broker keeps milliseconds."""
    for each in (job.published_at, job.due_at, job.expires_at, job.keep, job.died_at):
        yield -1 if each is None else each


def facts(job: StoredJob) -> tuple[object, ...]:
    """Return what of a job must not change on its way, but for times and the delivery number."""
    return (
        *(job.id, job.body, job.state, job.priority),
        *(job.attempts, job.lost, job.failure),
    )


def fill(client: OrchestratorBackend, queue_type: QueueType, count: int) -> None:
    """Put jobs of every kind into the queue; a fifth of them each."""
    store = client.store
    store.declare_queue(QueueSpec(QUEUE, queue_type))

    def publish(kind: str, **others: float) -> None:
        for number in range(count // 5):
            body = f'{{"payload": {{"{kind}": {number}, "text": "naïve ☃"}}}}'
            job = entry(f"{kind}-{number:03}", body=body, priority=number % 4, **others)
            store.publish(QUEUE, [job])

    publish("dead")
    with closing(store.holder()) as holder:
        while found := holder.receive([QUEUE], limit=1, wait=0).deliveries:
            holder.settle([reject(each) for each in found])
    publish("lost", keep=3600.0)
    with closing(store.holder()) as dying:
        while dying.receive([QUEUE], limit=1, wait=0).deliveries:
            pass
    publish("ready", ttl=DAY)
    publish("delayed", delay=DAY)
    publish("failed")
    with closing(store.holder()) as holder:
        claimed = [f"failed-{number:03}" for number in range(count // 5)]
        failed = [each for each in holder.claim(QUEUE, claimed, steal=False) if each]
        assert len(failed) == count // 5
        holder.settle([nack(each) for each in failed])


def waiting_or_dead(client: OrchestratorBackend) -> int:
    if QUEUE not in client.store.queues():
        return 0
    found = client.queue_stats(QUEUE)
    return found.ready + found.delayed + found.dead


def kill_a_move(source: str, target: str, choose: random.Random, most: int) -> None:
    """Start a mover, and kill it when it has moved a few jobs, between any two steps of its own."""
    with closing(backend_from_url(target)) as watched:
        enough = waiting_or_dead(watched) + choose.randrange(1, most)
        mover = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MOVE, source, target],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert mover.stdout is not None
        assert mover.stdout.readline() == "go\n", mover.communicate()[1]

        def is_time() -> bool:
            return waiting_or_dead(watched) >= enough or mover.poll() is not None

        eventually(is_time, within=60, what="moving a few jobs")
        pause(choose.uniform(0, 0.003))
        mover.send_signal(signal.SIGKILL)
        _, errors = mover.communicate()
        assert mover.returncode in (0, -signal.SIGKILL), errors


@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kinds", WAYS)
@pytest.mark.parametrize("queue_type", ["fifo", "priority"])
def test_a_journey_with_kills_leaves_each_job_in_one_place_as_it_was(
    places: Places, kinds: list[str], queue_type: QueueType
) -> None:
    count = 300
    kills = 20 if os.environ.get("MINDTRACE_STRESS") else 4
    choose = random.Random(f"{kinds} {queue_type}")
    urls = places.urls(kinds)
    with closing(backend_from_url(urls[0])) as first:
        fill(first, queue_type, count)
        before = by_id(look(first))
    assert len(before) == count

    for source_url, target_url in pairwise(urls):
        with (
            closing(backend_from_url(source_url)) as source,
            closing(backend_from_url(target_url)) as target,
        ):
            for _ in range(kills):
                kill_a_move(source_url, target_url, choose, count // kills)
                eventually(
                    lambda: {job.id for job in (*look(source), *look(target))} == before.keys(),
                    within=BROKER_NOTICES,
                    what="finding each job in at least one place",
                )

            migrate(source, target)

            assert look(source) == []
            arrived = by_id(look(target))
            assert {*map(facts, arrived.values())} == {*map(facts, before.values())}
            for job_id, job in arrived.items():
                assert [*seconds(job)] == pytest.approx([*seconds(before[job_id])], abs=0.1)
                assert job.delivery >= before[job_id].delivery

    with closing(backend_from_url(urls[-1])) as last:
        check_the_order(last, before, queue_type)


def check_the_order(
    client: OrchestratorBackend, before: dict[str, StoredJob], queue_type: QueueType
) -> None:
    """What can run is handed out in the order of publishing, and the dead are listed by death."""
    ready = [job for job in before.values() if job.state is JobState.READY]
    if queue_type == "priority":
        ready.sort(key=lambda job: -job.priority)
    with closing(client.store.holder()) as holder:
        handed_out: list[str] = []
        while found := holder.receive([QUEUE], limit=1, wait=0).deliveries:
            handed_out += [each.id for each in found]
            holder.settle([ack(each) for each in found])
    letters = client.store.dead_letters(QUEUE, limit=1_000_000, after=None)

    assert handed_out == [job.id for job in ready]
    dead = [job.id for job in before.values() if job.state is JobState.DEAD]
    assert [each.delivery.id for each in letters] == dead
