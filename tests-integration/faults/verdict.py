"""The verdict on jobs that went through a fault: none lost, none done twice, nothing left behind.

What must hold depends on the backend. One that knows jobs by their id keeps one entry of each and
completes it once. Plain RabbitMQ promises at-least-once: a job may be there twice, never not at
all.
"""

import contextlib
import signal
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from crew import Crew, Worker
from journal import Line

from mindtrace.jobs.lifecycle import JobState
from mindtrace.jobs.testing.waiting import eventually

EMPTY = (0, 0, 0, 0)


def left(crew: Crew, queues: Sequence[str]) -> int:
    """Count what the backend says is still to be done."""
    found = [crew.orchestrator.queue_stats(name) for name in queues]
    return sum(each.ready + each.delayed + each.leased for each in found)


def published(crew: Crew) -> tuple[set[str], set[str]]:
    """Return the jobs whose publish returned, and those whose publish was begun."""
    done, begun = (
        {f"{line.job}-{place}" for line in lines for place in range(line.facts["count"])}
        for lines in (crew.journal.lines("published"), crew.journal.lines("publishing"))
    )
    return done, begun


def effects(crew: Crew) -> set[str]:
    """Return the jobs that were done."""
    return {each.job for each in crew.journal.lines("effect")}


def come_to_rest(
    crew: Crew, jobs: Collection[str], *, queues: Sequence[str] = ("work",), within: float = 60.0
) -> None:
    """Wait until all jobs are done and nothing is left; then stop the workers in order."""
    try:
        eventually(
            lambda: set(jobs) <= effects(crew) and not left(crew, queues),
            within=within,
            what="the end of all jobs",
        )
    except AssertionError as error:
        raise AssertionError(f"{error}; {autopsy(crew, jobs, queues)}") from None
    dismiss(crew)


def dismiss(crew: Crew) -> None:
    """Stop all workers in order."""
    for worker in crew.workers:
        if worker.code is None:
            stop(worker)


def autopsy(crew: Crew, jobs: Collection[str], queues: Sequence[str]) -> str:
    """Tell what is left undone, and whether it comes to light when nobody holds anything."""
    missing = set(jobs) - effects(crew)
    seen = [line for line in crew.journal.lines() if line.job in missing]
    before = [crew.orchestrator.queue_stats(name) for name in queues]
    ends = {each.pid: each.code for each in crew.workers}
    dismiss(crew)
    with contextlib.suppress(AssertionError):
        eventually(lambda: left(crew, queues), what="what comes back when nobody holds it")
    after = [crew.orchestrator.queue_stats(name) for name in queues]
    return (
        f"without effect: {len(missing)}, {sorted(missing)[:5]}; seen of them: {seen[:20]}; "
        f"queues: {before}, when all had left: {after}; exit codes: {ends}\n{crew.story()}"
    )


def stop(worker: Worker) -> None:
    """Stop a worker in order."""
    worker.send(signal.SIGTERM)
    code = worker.ended()
    assert code == 0, f"{worker.pid} ended with {code}"


def check(crew: Crew, jobs: Collection[str], queues: Sequence[str] = ("work",)) -> None:
    """Assert that the jobs were done as the backend promises, and that nothing is left."""
    for name in queues:
        found = crew.orchestrator.queue_stats(name)
        assert (found.ready, found.delayed, found.leased, found.dead) == EMPTY, crew.story()
    strangers = effects(crew) - set(jobs)
    assert not strangers, f"not ours: {strangers}"
    lost = set(jobs) - effects(crew)
    assert not lost, f"lost: {lost}"
    check_deliveries(crew)
    if crew.knows_jobs:
        check_entries(crew)
        for job_id in jobs:
            check_record(crew, job_id)


def check_deliveries(crew: Crew) -> None:
    """Assert that each delivery was handed out once, and settled once at most."""
    if not crew.knows_jobs:
        return  # two copies of a job, as a crash may leave them, have one set of numbers
    journal = crew.journal
    assert most(journal.lines("received")) <= 1, "a delivery number was given out twice"
    assert most(journal.lines("settled")) <= 1, "one delivery was settled twice"
    assert max(completions(crew).values(), default=0) <= 1, "a job was completed twice"


def completions(crew: Crew) -> Counter[str]:
    """Return how often each job was completed."""
    settled = crew.journal.lines("settled")
    return Counter(each.job for each in settled if each.facts["verdict"] == "ack")


def check_entries(crew: Crew) -> None:
    """Assert that no job was there twice."""
    entries: defaultdict[str, set[str]] = defaultdict(set)
    for each in crew.journal.lines("received"):
        entries[each.job].add(str(each.facts["entry"]))
    double = {job: found for job, found in entries.items() if len(found) > 1}
    assert not double, f"jobs with more than one entry: {double}"


def check_record(crew: Crew, job_id: str, *, attempts: int = 0) -> None:
    """Assert that a job is completed with the outcome of its last delivery."""
    record = crew.orchestrator.backend.store.record(job_id)
    assert record is not None, f"{job_id} was lost"
    assert record.state is JobState.COMPLETED, record
    assert record.result == f'{{"delivery":{record.delivery}}}', "not the last one's outcome"
    assert record.attempts == attempts, "a crash counted as an attempt, or an attempt was lost"


def most(lines: Sequence[Line]) -> int:
    """Return how often one delivery of one entry is among the lines, at most."""
    counts = Counter((each.job, each.facts["entry"], each.delivery) for each in lines)
    return max(counts.values(), default=0)
