"""One scenario, every backend: the same jobs complete, die and are cancelled, in the same order.

A scenario is drawn at random and run against each backend by one consumer, so that the order of
first deliveries is defined. What the local backend makes of it is the measure for the others.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mindtrace.jobs import (
    Consumer,
    Job,
    LocalClient,
    Orchestrator,
    OrchestratorBackend,
    Reject,
    Retry,
    RetryPolicy,
    backend_from_url,
)
from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs_rabbitmq import RabbitMQClient

STRESS = bool(os.environ.get("MINDTRACE_STRESS"))
QUEUE_TYPES = ("fifo", "priority", "stack")
numbers = count()


class Task(NamedTuple):
    """One job: what each of its runs does, and what is done to it.

    A run beyond the script succeeds.
    """

    script: tuple[str, ...] = ()
    max_attempts: int = 1
    priority: int = 0
    is_cancelled: bool = False
    """Whether it is cancelled while it waits."""


class Round(NamedTuple):
    """Jobs that are published together and run until none is left."""

    tasks: list[Task]
    is_batch: bool = False
    requeues: bool = False
    """Whether the dead of earlier rounds are requeued first."""


class Outcome(NamedTuple):
    """How a scenario ended, by the numbers of its jobs."""

    order: list[int]
    """The first run of each job."""
    runs: dict[int, int]
    completed: set[int]
    cancelled: set[int]
    dead: dict[int, tuple[str, str, str, int]]
    """Why, with which error and message, after how many attempts."""


def tasks(*, cancelling: bool) -> st.SearchStrategy[Task]:
    runs = ["ok", "fail", "reject", "retry", *(["cancel"] if cancelling else [])]
    return st.builds(
        Task,
        script=st.lists(st.sampled_from(runs), max_size=4).map(tuple),
        max_attempts=st.integers(1, 3),
        priority=st.integers(0, 9),
        is_cancelled=st.booleans() if cancelling else st.just(value=False),
    )


def scenarios(*, cancelling: bool) -> st.SearchStrategy[list[Round]]:
    rounds = st.builds(
        Round,
        st.lists(tasks(cancelling=cancelling), max_size=12),
        is_batch=st.booleans(),
        requeues=st.booleans(),
    )
    return st.lists(rounds, min_size=1, max_size=3)


EVERYTHING = [
    Round(
        [
            Task(),
            Task(("fail", "fail"), max_attempts=3, priority=3),
            Task(("fail", "fail"), max_attempts=2, priority=9),
            Task(("retry", "retry", "ok"), priority=3),
            Task(("reject", "fail")),
        ]
    ),
    Round([Task(("fail",), priority=1), Task(priority=2)], is_batch=True, requeues=True),
]
WITH_CANCELS = [
    *EVERYTHING,
    Round([Task(is_cancelled=True), Task(("cancel",)), Task(("fail", "cancel"), 2), Task()]),
]


class Player(Consumer):
    """Runs the scripts, and remembers what it ran."""

    def __init__(self, client: OrchestratorBackend) -> None:
        super().__init__()
        self._client = client
        self.runs: Counter[int] = Counter()
        self.order: list[int] = []
        self.succeeded: set[int] = set()

    def run(self, job_dict: Any) -> None:
        number, script = job_dict["payload"]["number"], job_dict["payload"]["script"]
        if number not in self.runs:
            self.order.append(number)
        step = script[self.runs[number]] if self.runs[number] < len(script) else "ok"
        self.runs[number] += 1
        match step:
            case "fail":
                message = f"run {self.runs[number]} of job {number}"
                raise ValueError(message)
            case "reject":
                raise Reject(f"job {number} is hopeless")
            case "retry":
                raise Retry(after=0)
            case "cancel":
                assert self._client.cancel(job_dict["id"])
            case _:
                self.succeeded.add(number)


def play(client: OrchestratorBackend, queue_type: str, scenario: Sequence[Round]) -> Outcome:
    """Run a scenario in a queue of its own."""
    queue = f"scenario {next(numbers)}"
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue(queue, queue_type)
    try:
        return Stage(orchestrator, queue).play(scenario)
    finally:
        orchestrator.delete_queue(queue)


class Stage:
    """One scenario on one backend."""

    def __init__(self, orchestrator: Orchestrator, queue: str) -> None:
        self._orchestrator = orchestrator
        self._queue = queue
        self._player = Player(orchestrator.backend)
        self._numbers: dict[str, int] = {}
        self._knows_jobs = orchestrator.backend.capabilities.job_identity

    def play(self, scenario: Sequence[Round]) -> Outcome:
        self._player.connect_to_orchestrator(self._orchestrator, self._queue)
        for each in scenario:
            if each.requeues:
                self._orchestrator.requeue_dead_letters(self._queue)
            self._publish(each)
            self._player.consume_until_empty()
        stats = self._orchestrator.queue_stats(self._queue)
        assert (stats.ready, stats.delayed, stats.leased) == (0, 0, 0)
        return self._outcome()

    def _publish(self, each: Round) -> None:
        jobs = [self._job(task) for task in each.tasks]
        keep: dict[str, Any] = {"keep_result": True} if self._knows_jobs else {}
        if each.is_batch:
            policy = RetryPolicy(max_attempts=2, backoff=0)
            self._orchestrator.publish_many(self._queue, jobs, retry=policy, **keep)
        else:
            for job, task in zip(jobs, each.tasks, strict=True):
                policy = RetryPolicy(max_attempts=task.max_attempts, backoff=0)
                self._orchestrator.publish(self._queue, job, retry=policy, **keep)
        for job, task in zip(jobs, each.tasks, strict=True):
            if task.is_cancelled:
                assert self._orchestrator.cancel(job.id)

    def _job(self, task: Task) -> Job:
        number = len(self._numbers)
        job_id = f"{self._queue}, job {number}"
        self._numbers[job_id] = number
        payload = {"number": number, "script": list(task.script)}
        return Job(id=job_id, name="scenario", payload=payload, priority=task.priority)

    def _outcome(self) -> Outcome:
        letters = self._orchestrator.dead_letters(self._queue, limit=1000)
        dead = {
            self._numbers[each.job_id]: (
                each.reason,
                each.error_type,
                each.message,
                each.attempts,
            )
            for each in letters
        }
        assert len(dead) == len(letters)
        completed, cancelled = self._player.succeeded - dead.keys(), set[int]()
        if self._knows_jobs:
            assert completed == self._in_state(JobState.COMPLETED)
            assert dead.keys() == self._in_state(JobState.DEAD)
            cancelled = self._in_state(JobState.CANCELLED)
        assert {*completed, *cancelled, *dead} == {*self._numbers.values()}
        return Outcome(self._player.order, dict(self._player.runs), completed, cancelled, dead)

    def _in_state(self, state: JobState) -> set[int]:
        records = {
            number: self._orchestrator.backend.store.record(job_id)
            for job_id, number in self._numbers.items()
        }
        return {number for number, found in records.items() if found and found.state == state}


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def compare(client: OrchestratorBackend, queue_type: str) -> None:
    """Search for a scenario that this backend and the local one end differently."""
    cancelling = client.capabilities.job_identity

    @settings(
        max_examples=300 if STRESS else 12,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(scenarios(cancelling=cancelling))
    @example(EVERYTHING)
    @example(WITH_CANCELS if cancelling else EVERYTHING)
    def the_same(scenario: list[Round]) -> None:
        with LocalClient.in_memory() as local:
            wanted = play(local, queue_type, scenario)
        assert play(client, queue_type, scenario) == wanted

    the_same()


@pytest.mark.parametrize("queue_type", QUEUE_TYPES)
def test_the_measure_itself_is_right(queue_type: str) -> None:
    with LocalClient.in_memory() as local:
        found = play(local, queue_type, WITH_CANCELS)

    rounds = {
        "fifo": [(0, 1, 2, 3, 4), (5, 6), (8, 9, 10)],
        "stack": [(4, 3, 2, 1, 0), (6, 5), (10, 9, 8)],
        "priority": [(2, 1, 3, 0, 4), (6, 5), (8, 9, 10)],
    }
    assert found.order == [number for each in rounds[queue_type] for number in each]
    assert found.completed == {0, 1, 2, 3, 5, 6, 10}
    assert found.cancelled == {7, 8, 9}
    assert found.dead == {4: ("failed", "ValueError", "run 2 of job 4", 1)}
    assert found.runs == {0: 1, 1: 3, 2: 3, 3: 3, 4: 2, 5: 2, 6: 1, 8: 1, 9: 2, 10: 1}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("queue_type", QUEUE_TYPES)
def test_files_end_it_as_memory_does(
    clients: ExitStack, tmp_path_factory: pytest.TempPathFactory, queue_type: str
) -> None:
    folder = tmp_path_factory.mktemp("scenarios")

    compare(clients.enter_context(LocalClient(folder)), queue_type)


@pytest.mark.redis
@pytest.mark.timeout(900)
@pytest.mark.parametrize("queue_type", QUEUE_TYPES)
def test_redis_ends_it_as_local_does(clients: ExitStack, redis_url: str, queue_type: str) -> None:
    compare(clients.enter_context(backend_from_url(redis_url)), queue_type)


@pytest.mark.rabbitmq
@pytest.mark.timeout(900)
@pytest.mark.parametrize("queue_type", ["fifo", "priority"])
def test_rabbitmq_ends_it_as_local_does_but_for_cancels(
    clients: ExitStack, rabbitmq_url: str, queue_type: str
) -> None:
    client = clients.enter_context(backend_from_url(rabbitmq_url))

    assert not client.capabilities.job_identity
    compare(client, queue_type)


@pytest.mark.redis
@pytest.mark.rabbitmq
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ledger", ["local", "redis"])
@pytest.mark.parametrize("queue_type", ["fifo", "priority"])
def test_rabbitmq_with_a_ledger_ends_it_as_local_does(
    clients: ExitStack, redis_url: str, rabbitmq_url: str, queue_type: str, ledger: str
) -> None:
    book = clients.enter_context(backend_from_url("memory://" if ledger == "local" else redis_url))
    client = clients.enter_context(RabbitMQClient(url=rabbitmq_url, ledger=book))

    assert client.capabilities.job_identity
    compare(client, queue_type)
