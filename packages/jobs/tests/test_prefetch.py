"""How many jobs are held, and how many may still be handled."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from jobs_support import consumer_of

from mindtrace.jobs import Job, Orchestrator
from mindtrace.jobs.prefetch import HOLD_SECONDS, MOST, Quota, Window
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.waiting import Background


def never() -> bool:
    return False


class TestWindow:
    def test_the_first_job_travels_alone(self) -> None:
        assert Window(None).limit == 1

    @pytest.mark.parametrize(
        ("seconds", "limit"),
        [
            (0.0, MOST),
            (1e-6, MOST),
            (HOLD_SECONDS / 10, 10),
            (HOLD_SECONDS / 2, 2),
            (HOLD_SECONDS, 1),
            (HOLD_SECONDS * 50, 1),
        ],
    )
    def test_it_holds_what_runs_in_a_tenth_of_a_second(self, seconds: float, limit: int) -> None:
        window = Window(None)

        window.ran(seconds, 1)

        assert window.limit == limit

    def test_it_counts_by_the_job_and_not_by_the_batch(self) -> None:
        window = Window(None)

        window.ran(HOLD_SECONDS, 10)

        assert window.limit == 10

    def test_it_follows_a_change_within_a_few_batches(self) -> None:
        window = Window(None)
        window.ran(0.0001, 1)

        limits: list[int] = []
        for _ in range(6):
            window.ran(2.0, 1)
            limits.append(window.limit)

        assert limits[0] == 1
        for _ in range(20):
            window.ran(0.0001, 1)
        assert window.limit == MOST

    def test_a_batch_of_none_says_nothing(self) -> None:
        window = Window(None)

        window.ran(5.0, 0)

        assert window.limit == 1

    def test_a_fixed_number_is_fixed(self) -> None:
        window = Window(7)

        window.ran(100, 1)

        assert window.limit == 7

    @pytest.mark.parametrize("number", [0, -1])
    def test_none_cannot_be_held(self, number: int) -> None:
        with pytest.raises(ValueError, match="prefetch is at least 1"):
            Window(number)


class TestQuota:
    @pytest.mark.parametrize("total", [None, 0])
    def test_without_a_limit_all_that_is_wanted_is_given(self, total: int | None) -> None:
        quota = Quota(total)

        assert [quota.take(100, never) for _ in range(3)] == [100, 100, 100]
        quota.give_back(100, 40)
        assert quota.handled == 40

    def test_no_more_than_the_total_is_given(self) -> None:
        quota = Quota(5)

        first = quota.take(3, never)
        second = quota.take(3, never)
        quota.give_back(first, first)
        quota.give_back(second, second)

        assert (first, second, quota.take(3, never)) == (3, 2, 0)
        assert quota.handled == 5

    def test_what_was_not_handled_is_free_again(self) -> None:
        quota = Quota(5)

        quota.give_back(quota.take(5, never), 2)

        assert quota.take(5, never) == 3

    def test_one_waits_for_what_another_may_give_back(self) -> None:
        quota = Quota(2)
        taken = quota.take(2, never)
        waiting = Background(lambda: quota.take(2, never))

        quota.give_back(taken, 1)

        assert waiting.result() == 1

    def test_one_that_waits_hears_a_stop(self) -> None:
        quota = Quota(1)
        quota.take(1, never)
        stopping = threading.Event()
        waiting = Background(lambda: quota.take(1, stopping.is_set))

        stopping.set()

        assert waiting.result() == 0


class TestHolding:
    """What a consumer holds while a handler runs, as the store sees it."""

    def held(self, orchestrator: Orchestrator, queue: str, **how: Any) -> list[int]:
        orchestrator.publish_many(queue, [Job(name="any", payload={}) for _ in range(40)])
        counts: list[int] = []

        def run(_: object) -> None:
            counts.append(orchestrator.queue_stats(queue).leased)

        consumer_of(orchestrator, queue, run).consume(40, **how)
        return counts

    def test_short_jobs_travel_in_batches_after_the_first(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        counts = self.held(orchestrator, "tasks")

        assert counts[0] == 1
        assert max(counts) > 1

    def test_a_priority_queue_gives_one_at_a_time(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks", "priority")

        assert set(self.held(orchestrator, "tasks")) == {1}

    def test_one_priority_queue_among_several_is_enough(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.declare_queue("ranked", "priority")
        orchestrator.publish_many("tasks", [Job(name="any", payload={}) for _ in range(20)])
        counts: list[int] = []
        consumer = consumer_of(
            orchestrator,
            "tasks",
            lambda _: counts.append(orchestrator.queue_stats("tasks").leased),
        )

        consumer.consume(20, queues=["tasks", "ranked"])

        assert set(counts) == {1}

    @pytest.mark.parametrize("name", ["prefetch", "prefetch_count"])
    def test_a_number_said_is_kept_to(self, orchestrator: Orchestrator, name: str) -> None:
        orchestrator.declare_queue("tasks", "priority")

        counts = self.held(orchestrator, "tasks", **{name: 4})

        assert max(counts) == 4

    def test_a_number_said_to_the_backend_is_kept_to(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish_many("tasks", [Job(name="any", payload={}) for _ in range(6)])
        counts: list[int] = []
        consumer = consumer_of(
            orchestrator,
            "tasks",
            lambda _: counts.append(orchestrator.queue_stats("tasks").leased),
        )
        assert consumer.consumer_backend is not None

        consumer.consumer_backend.set_prefetch_count(3)
        consumer.consume(6)

        assert max(counts) == 3

    def test_what_waits_behind_a_long_job_goes_to_others(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish_many("tasks", [Job(name="any", payload={}) for _ in range(3)])
        go = threading.Event()
        consuming = Background(
            lambda: consumer_of(orchestrator, "tasks", lambda _: go.wait(10)).consume(3, prefetch=3)
        )

        eventually(lambda: orchestrator.count_queue_messages("tasks") == 2)

        go.set()
        assert consuming.result() == 3
