"""Many processes at the same moment: declaring, publishing, consuming, and dying in between."""

import json
import random
import signal
import time
from collections import Counter

import pytest
from crew import Crew, Worker
from orders import Orders

from mindtrace.jobs import Job
from mindtrace.jobs.testing.waiting import eventually, pause

ROUNDS = 20


@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_open_a_new_folder_at_once_declare_its_queue_once(
    crew: Crew, count: int
) -> None:
    folders = [str(crew.folder.with_name(f"round {number}")) for number in range(ROUNDS)]
    orders = Orders(role="race", rounds=tuple(folders))
    racers = [crew.start(orders) for _ in range(count)]
    for racer in racers:
        racer.wait_for("ready")

    for number, folder in enumerate(folders, 1):
        gate = crew.folder.with_name("next gate")
        gate.write_text(json.dumps(time.monotonic() + 0.02))
        gate.rename(f"{folder}.gate")
        for racer in racers:
            racer.wait_for("said", number)

    said = crew.journal.lines("said")
    wrong = [each for each in said if "declared." not in str(each) and "exists." not in str(each)]
    assert not wrong
    for folder in folders:
        texts = sorted(each.facts["text"] for each in said if each.job == folder)
        expected = ["Queue 'work' already exists."] * (count - 1) + ["Queue 'work' declared."]
        assert texts == expected
    assert [racer.ended() for racer in racers] == [0] * count


def test_without_a_kill_each_job_of_many_publishers_runs_exactly_once(crew: Crew) -> None:
    crew.orchestrator.declare_queue("work", keep_result=True)
    consumers = [crew.consumer() for _ in range(4)]
    wait = {"do": "gate", "gate": str(crew.gate())}
    first = [crew.orchestrator.publish("work", Job(name="work", payload=wait)) for _ in consumers]
    for each in consumers:
        each.wait_for("begin")
    publish = Orders(role="publish", batch=10, batches=50)
    publishers = [crew.start(publish) for _ in range(4)]
    publishers[0].wait_for("published")
    crew.gate().touch()

    assert [each.ended(within=40) for each in publishers] == [0] * 4
    eventually(lambda: is_empty(crew), within=40, what="an empty queue")
    for each in consumers:
        each.send(signal.SIGTERM)
    assert [each.ended() for each in consumers] == [0] * 4

    names = [each.job for each in crew.journal.lines("published")]
    published = [f"{name}-{place}" for name in names for place in range(10)]
    effects = sorted(each.job for each in crew.journal.lines("effect"))
    assert len(published) == 2000
    assert effects == sorted([*first, *published])
    # on a busy machine a consumer gives back what it has not begun, and only that adds deliveries
    settled = crew.journal.lines("settled")
    released = Counter(each.job for each in settled if each.facts["verdict"] == "release")
    for each in crew.journal.lines("effect"):
        assert each.delivery == 1 + released[each.job], crew.story()
    assert {each.facts["lost"] for each in crew.journal.lines("begin")} == {0}
    assert crew.journal.count("refused") == 0


def is_empty(crew: Crew) -> bool:
    stats = crew.orchestrator.queue_stats("work")
    return stats.ready + stats.delayed + stats.leased == 0


def test_a_publisher_killed_in_publish_many_leaves_all_or_none_of_the_batch(crew: Crew) -> None:
    crew.orchestrator.declare_queue("work")
    size, enough, seed = 1000, 8, random.Random(5)
    interrupted: list[tuple[Worker, str]] = []

    for _ in range(60):
        if len(interrupted) >= enough:
            break
        publisher = crew.start(Orders(role="publish", batch=size))
        publisher.wait_for("publishing", 2)
        pause(seed.uniform(0.0, 0.06))
        publisher.kill()
        begun = [each.job for each in publisher.lines("publishing")]
        done = {each.job for each in publisher.lines("published")}
        interrupted += [(publisher, name) for name in begun if name not in done]
        for name in begun:
            found = [_is_there(crew, f"{name}-{place}") for place in range(size)]
            assert len(set(found)) == 1, f"{sum(found)} of {size} jobs of a batch are there"
            assert found[0] or name not in done, "a batch was lost that publish_many had confirmed"
        crew.orchestrator.clean_queue("work")

    assert len(interrupted) >= enough, "too few kills came in the middle of a call"


def _is_there(crew: Crew, job_id: str) -> bool:
    return crew.orchestrator.backend.store.record(job_id) is not None


def test_the_orchestrator_of_a_killed_publisher_leaves_no_lock_behind(crew: Crew) -> None:
    crew.orchestrator.declare_queue("work")
    publisher = crew.start(Orders(role="publish", batch=2000))
    publisher.wait_for("publishing", 2)
    publisher.kill()

    began = time.monotonic()
    crew.orchestrator.publish("work", Job(name="work", payload={"do": "work", "seconds": 0.0}))

    assert time.monotonic() - began < 10.0
