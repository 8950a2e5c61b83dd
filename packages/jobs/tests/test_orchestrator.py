"""The producing and administering side: registering, publishing, options, dead letters."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from jobs_support import Pair, Sum, add, consumer_of, drain, fail, run_python, sums

from mindtrace.jobs import (
    DuplicateJobError,
    Job,
    JobNotFoundError,
    JobSchema,
    LocalClient,
    Orchestrator,
    QueueStats,
    QueueTypeMismatchError,
    RetryPolicy,
)
from mindtrace.jobs.testing.waiting import Background

if TYPE_CHECKING:
    from pathlib import Path

    from mindtrace.core import ManualClock

HOUR = 3600.0


def job(**facts: Any) -> Job:
    chosen: dict[str, Any] = {"name": "any", "payload": {}, **facts}
    return Job(**chosen)


def stats(orchestrator: Orchestrator, queue: str) -> tuple[int, int, int, int]:
    found = orchestrator.queue_stats(queue)
    return found.ready, found.delayed, found.leased, found.dead


class TestRegistering:
    def test_registering_again_replaces_the_schema_and_keeps_the_jobs(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.register(JobSchema(name="sums"))
        orchestrator.publish("sums", job())
        schema = sums()

        orchestrator.register(schema)

        assert orchestrator.schema_of("sums") is schema
        assert orchestrator.count_queue_messages("sums") == 1

    def test_a_schema_registered_after_a_publish_is_minded_at_once(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("sums")
        orchestrator.publish("sums", job(payload={"a": "x"}))

        orchestrator.register(sums())

        with pytest.raises(ValueError, match="does not fit"):
            orchestrator.publish("sums", job(payload={"a": "x"}))

    def test_the_type_of_the_queue_is_passed_on(self, orchestrator: Orchestrator) -> None:
        orchestrator.register(sums(), "stack")

        assert orchestrator.queue_stats("sums").queue_type == "stack"

    def test_saying_no_type_takes_the_queue_as_it_is(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("sums", "priority")

        orchestrator.register(sums())

        assert orchestrator.queue_stats("sums").queue_type == "priority"

    def test_another_type_is_refused_with_both(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("sums", "priority")

        with pytest.raises(QueueTypeMismatchError, match=r"priority.*stack") as caught:
            orchestrator.register(sums(), "stack")

        assert (caught.value.declared, caught.value.requested) == ("priority", "stack")
        assert orchestrator.schema_of("sums") is None

    def test_options_said_again_replace_and_left_out_stay(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks", max_deliveries=3, retry=RetryPolicy(4, backoff=(1, 2)))

        orchestrator.declare_queue("tasks")
        kept = orchestrator.backend.store.queues()["tasks"].options
        orchestrator.declare_queue("tasks", timeout=9)
        replaced = orchestrator.backend.store.queues()["tasks"].options

        assert (kept.max_deliveries, kept.retry) == (3, RetryPolicy(4, backoff=(1, 2)))
        assert (replaced.max_deliveries, replaced.retry, replaced.timeout) == (5, None, 9)

    def test_a_missing_queue_is_declared_with_one_line_in_the_log(
        self, orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "mindtrace")

        consumer_of(orchestrator, "already declared", add)
        consumer_of(orchestrator, "already declared", add)

        (line,) = [each for each in caplog.messages if "already declared" in each]
        assert "did not exist" in line
        assert orchestrator.queue_stats("already declared").queue_type == "fifo"


class TestRouting:
    def test_what_belongs_nowhere_goes_to_the_default_queue(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.register(sums())

        orchestrator.publish(job(payload={"any": "thing"}))

        assert orchestrator.count_queue_messages("default_jobs") == 1

    def test_the_class_of_a_schemas_input_instance_decides_too(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.register(JobSchema(name="totals", input_schema=Sum))
        orchestrator.register(sums())

        orchestrator.publish(job(payload=JobSchema(name="other", input=Pair(a=1))))

        assert orchestrator.count_queue_messages("sums") == 1

    def test_a_schema_built_with_a_class_means_its_defaults(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish("tasks", job(payload=JobSchema(name="other", input=Pair)))
        orchestrator.publish("tasks", job(payload=JobSchema(name="other")))

        taken = [orchestrator.receive_message("tasks") for _ in range(2)]

        assert [each and each.payload for each in taken] == [{"a": 0, "b": 0}, {}]

    def test_a_mapped_queue_keeps_the_type_it_has(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("data_jobs", "priority")

        for _ in range(2):
            orchestrator.publish(job(job_type="data_processing"))

        assert orchestrator.queue_stats("data_jobs").queue_type == "priority"
        assert orchestrator.count_queue_messages("data_jobs") == 2

    def test_an_input_that_no_schema_takes_is_refused(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(ValueError, match="Schema 'default_jobs' not found"):
            orchestrator.publish(Pair())


class TestPublishing:
    def test_the_id_of_the_job_comes_back(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        assert orchestrator.publish("tasks", job(id="my own")) == "my own"

    def test_the_payload_of_a_job_is_completed_by_its_schema(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.register(sums())

        orchestrator.publish("sums", job(payload={"a": 1}))

        taken = orchestrator.receive_message("sums")
        assert taken is not None
        assert taken.payload == {"a": 1, "b": 0}

    def test_a_schema_without_an_input_model_takes_anything(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.register(JobSchema(name="anything"))

        orchestrator.publish("anything", job(payload=[1, None, {"x": 2.5}]))
        orchestrator.publish("anything", Pair(a=1))

        taken = [orchestrator.receive_message("anything") for _ in range(2)]
        assert [each and each.payload for each in taken] == [
            [1, None, {"x": 2.5}],
            {"a": 1, "b": 0},
        ]

    def test_the_argument_wins_over_the_priority_of_the_job(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("ranked", "priority")
        orchestrator.publish("ranked", job(id="middle", priority=5))
        orchestrator.publish("ranked", job(id="last", priority=9), priority=0)
        orchestrator.publish("ranked", job(id="first"), priority=-(2**40) + 2**41)
        orchestrator.publish("ranked", job(id="very last", priority=-3))

        taken = [orchestrator.receive_message("ranked") for _ in range(4)]

        assert [each and each.id for each in taken] == ["first", "middle", "last", "very last"]
        assert [each and each.priority for each in taken] == [2**40, 5, 0, -3]

    def test_many_are_published_in_order(self, orchestrator: Orchestrator) -> None:
        orchestrator.register(sums())

        ids = orchestrator.publish_many("sums", [Pair(a=each) for each in range(50)])

        taken = [orchestrator.receive_message("sums") for _ in range(50)]
        assert [each and each.id for each in taken] == ids
        assert [each and each.payload["a"] for each in taken] == list(range(50))

    def test_none_are_none(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        assert orchestrator.publish_many("tasks", []) == []

    def test_many_share_the_options(self, timed: Orchestrator, clock: ManualClock) -> None:
        timed.declare_queue("tasks")

        timed.publish_many("tasks", [job(), job()], delay=10)

        assert stats(timed, "tasks") == (0, 2, 0, 0)
        clock.advance(10)
        assert stats(timed, "tasks") == (2, 0, 0, 0)

    def test_one_duplicate_among_many_publishes_none(self, orchestrator: Orchestrator) -> None:
        for queue in ("tasks", "others"):
            orchestrator.declare_queue(queue)
        orchestrator.publish("others", job(id="taken"))

        with pytest.raises(DuplicateJobError, match="'taken'"):
            orchestrator.publish_many("tasks", [job(), job(id="taken"), job()])

        assert orchestrator.count_queue_messages("tasks") == 0

    def test_the_same_job_again_adds_nothing(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        again = job(id="one")

        ids = [orchestrator.publish("tasks", again) for _ in range(3)]

        assert ids == ["one"] * 3
        assert orchestrator.count_queue_messages("tasks") == 1

    def test_a_dead_job_must_be_requeued_or_discarded_first(
        self, orchestrator: Orchestrator
    ) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish("tasks", job(id="one"))
        drain(orchestrator, "tasks", fail)

        with pytest.raises(DuplicateJobError, match="requeue or discard") as caught:
            orchestrator.publish("tasks", job(id="one"))

        assert (caught.value.job_id, caught.value.queue, caught.value.state) == (
            "one",
            "tasks",
            "dead",
        )

    @pytest.mark.parametrize("how", ["one", "many", "with a key"])
    def test_the_id_of_an_outcome_that_is_over_is_free(
        self, timed: Orchestrator, clock: ManualClock, how: str
    ) -> None:
        timed.declare_queue("tasks")
        timed.publish("tasks", job(id="one"), keep_result=True, result_ttl=5)
        drain(timed, "tasks", lambda _: "done")
        clock.advance(5)

        if how == "many":
            timed.publish_many("tasks", [job(id="zero"), job(id="one")])
        else:
            timed.publish("tasks", job(id="one"), dedup_key=None if how == "one" else "key")

        assert timed.handle("one").status == "queued"

    def test_what_is_there_tells_its_age(self, timed: Orchestrator, clock: ManualClock) -> None:
        timed.declare_queue("tasks")
        timed.publish("tasks", job())
        clock.advance(7)
        timed.publish("tasks", job())

        found = timed.queue_stats("tasks")

        assert found == QueueStats("tasks", "fifo", 2, 0, 0, 0, 7.0)


class TestTime:
    def test_a_delayed_job_waits(self, timed: Orchestrator, clock: ManualClock) -> None:
        timed.declare_queue("tasks")

        timed.publish("tasks", job(id="later"), delay=10)

        assert timed.receive_message("tasks") is None
        clock.advance(9.9)
        assert timed.receive_message("tasks") is None
        clock.advance(0.1)
        taken = timed.receive_message("tasks")
        assert taken is not None
        assert taken.id == "later"

    def test_a_moment_is_kept_to(self, timed: Orchestrator, clock: ManualClock) -> None:
        timed.declare_queue("tasks")
        moment = datetime.fromtimestamp(clock.now() + 60, UTC)

        timed.publish("tasks", job(), at=moment)

        clock.advance(59)
        assert stats(timed, "tasks") == (0, 1, 0, 0)
        clock.advance(1)
        assert stats(timed, "tasks") == (1, 0, 0, 0)

    def test_what_was_not_handed_out_in_time_expires(
        self, timed: Orchestrator, clock: ManualClock
    ) -> None:
        timed.declare_queue("tasks")
        timed.publish("tasks", job(id="short"), ttl=5)
        timed.publish("tasks", job(id="long"))

        clock.advance(5)

        taken = timed.receive_message("tasks")
        assert taken is not None
        assert taken.id == "long"
        assert timed.receive_message("tasks") is None

    def test_a_dedup_key_returns_the_first_job(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        first = orchestrator.publish("tasks", job(), dedup_key="order-7")
        second = orchestrator.publish("tasks", job(), dedup_key="order-7")
        other = orchestrator.publish("tasks", job(), dedup_key="order-8")

        assert first == second != other
        assert orchestrator.count_queue_messages("tasks") == 2

    def test_a_finished_job_frees_its_key(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        first = orchestrator.publish("tasks", job(), dedup_key="order-7")
        drain(orchestrator, "tasks")

        second = orchestrator.publish("tasks", job(), dedup_key="order-7")

        assert first != second

    def test_a_key_with_a_time_counts_that_long(
        self, timed: Orchestrator, clock: ManualClock
    ) -> None:
        timed.declare_queue("tasks")
        first = timed.publish("tasks", job(), dedup_key="order-7", dedup_ttl=60)
        drain(timed, "tasks")

        clock.advance(59)
        second = timed.publish("tasks", job(), dedup_key="order-7")
        clock.advance(1)
        third = timed.publish("tasks", job(), dedup_key="order-7")

        assert first == second != third

    def test_many_with_one_key_add_one(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        ids = orchestrator.publish_many("tasks", [job(), job()], dedup_key="order-7")

        assert len(set(ids)) == 1
        assert orchestrator.count_queue_messages("tasks") == 1


def keeps(orchestrator: Orchestrator, schema: JobSchema, **options: Any) -> bool:
    """Tell whether the outcome of a published job can still be read."""
    job_id = orchestrator.publish(schema.name, Pair(a=1), **options)
    drain(orchestrator, schema.name, add)
    try:
        return orchestrator.handle(job_id).status == "completed"
    except JobNotFoundError:
        return False


class TestKeepingResults:
    def test_a_plain_publish_keeps_nothing(self, orchestrator: Orchestrator) -> None:
        orchestrator.register(sums())

        assert not keeps(orchestrator, sums())

    @pytest.mark.parametrize(
        ("publish", "schema", "queue", "kept"),
        [
            (None, None, True, True),
            (None, True, False, True),
            (None, False, True, False),
            (True, False, False, True),
            (False, True, True, False),
        ],
    )
    def test_the_publish_wins_over_the_schema_and_that_over_the_queue(
        self,
        orchestrator: Orchestrator,
        publish: bool | None,
        schema: bool | None,
        queue: bool,
        kept: bool,
    ) -> None:
        chosen = sums(keep_result=schema)
        orchestrator.register(chosen, keep_result=queue)

        assert keeps(orchestrator, chosen, keep_result=publish) is kept

    @pytest.mark.parametrize(
        ("publish", "schema", "queue", "seconds"),
        [
            (None, None, None, 24 * HOUR),
            (None, None, 30.0, 30.0),
            (None, 20.0, 30.0, 20.0),
            (10.0, 20.0, 30.0, 10.0),
        ],
    )
    def test_the_time_follows_the_same_order(
        self,
        timed: Orchestrator,
        clock: ManualClock,
        publish: float | None,
        schema: float | None,
        queue: float | None,
        seconds: float,
    ) -> None:
        chosen = sums(result_ttl=schema)
        options: dict[str, Any] = {} if queue is None else {"result_ttl": queue}
        timed.register(chosen, **options)
        handle = timed.submit(chosen, Pair(a=1), result_ttl=publish)
        drain(timed, "sums", add)

        clock.advance(seconds - 0.1)
        assert handle.result(0) == Sum(total=1)
        clock.advance(0.2)

        with pytest.raises(JobNotFoundError):
            handle.result(0)

    def test_submit_keeps_and_can_be_told_not_to(self, orchestrator: Orchestrator) -> None:
        kept = orchestrator.submit(sums(), Pair(a=1))
        unkept = orchestrator.submit(sums(), Pair(a=2), keep_result=False)

        drain(orchestrator, "sums", add)

        assert kept.result(0) == Sum(total=1)
        with pytest.raises(JobNotFoundError):
            unkept.result(0)

    def test_submit_takes_a_dict_or_the_defaults(self, orchestrator: Orchestrator) -> None:
        schema = JobSchema(name="sums", input=Pair(a=3, b=4), output=Sum)
        handles = [
            orchestrator.submit(schema),
            orchestrator.submit(schema, {"a": 1}),
            orchestrator.submit(schema, Pair(a=9)),
        ]

        drain(orchestrator, "sums", add)

        assert [each.result(0).total for each in handles] == [7, 5, 9]

    def test_submit_registers_its_schema_once(self, orchestrator: Orchestrator) -> None:
        schema = sums()
        orchestrator.register(schema, "priority")

        orchestrator.submit(schema, priority=1)

        assert orchestrator.queue_stats("sums").queue_type == "priority"
        assert orchestrator.schema_of("sums") is schema


class TestDeadLetters:
    def dead(self, orchestrator: Orchestrator, count: int) -> list[str]:
        orchestrator.declare_queue("tasks")
        ids = [orchestrator.publish("tasks", job(id=f"job {each}")) for each in range(count)]
        drain(orchestrator, "tasks", fail)
        return ids

    def test_a_dead_letter_tells_the_whole_story(
        self, timed: Orchestrator, clock: ManualClock
    ) -> None:
        timed.declare_queue("tasks")
        timed.publish("tasks", job(id="one", payload={"a": 1}, entrypoint="x.py"), priority=3)
        clock.advance(5)

        drain(timed, "tasks", fail)

        (letter,) = timed.dead_letters("tasks")
        assert (letter.job_id, letter.queue, letter.reason) == ("one", "tasks", "failed")
        assert (letter.error_type, letter.message) == ("LookupError", "cannot add {'a': 1}")
        assert "in fail" in letter.traceback
        assert "executor.py" not in letter.traceback
        assert (letter.attempts, letter.lost) == (1, 0)
        assert letter.died_at == datetime.fromtimestamp(clock.now(), UTC)
        assert letter.job is not None
        assert (letter.job.payload, letter.job.status) == ({"a": 1}, "failed")
        assert (letter.job.entrypoint, letter.job.priority) == ("x.py", 3)
        assert letter.job.error == letter.message
        assert "options" not in letter.job

    def test_they_are_paged_in_the_order_of_their_deaths(self, orchestrator: Orchestrator) -> None:
        ids = self.dead(orchestrator, 5)

        pages: list[list[str]] = []
        after = None
        while page := orchestrator.dead_letters("tasks", limit=2, after=after):
            pages.append([each.job_id for each in page])
            after = page[-1].job_id

        assert pages == [ids[:2], ids[2:4], ids[4:]]

    def test_a_hundred_come_unless_said_otherwise(self, orchestrator: Orchestrator) -> None:
        self.dead(orchestrator, 101)

        assert len(orchestrator.dead_letters("tasks")) == 100

    def test_requeued_ones_run_again(self, orchestrator: Orchestrator) -> None:
        ids = self.dead(orchestrator, 4)

        one = orchestrator.requeue_dead_letters("tasks", ids[0])
        some = orchestrator.requeue_dead_letters("tasks", [ids[1], ids[2], "unknown"])
        seen: list[tuple[str, int]] = []
        drain(orchestrator, "tasks", lambda each: seen.append((each.id, each.attempts)))
        rest = orchestrator.requeue_dead_letters("tasks")

        assert (one, some, rest) == (1, 2, 1)
        assert seen == [(each, 0) for each in ids[:3]]

    def test_discarded_ones_are_gone_and_their_ids_free(self, orchestrator: Orchestrator) -> None:
        ids = self.dead(orchestrator, 3)

        one = orchestrator.discard_dead_letters("tasks", ids[0])
        none = orchestrator.discard_dead_letters("tasks", [])
        rest = orchestrator.discard_dead_letters("tasks")

        assert (one, none, rest) == (1, 0, 2)
        assert orchestrator.dead_letters("tasks") == []
        assert orchestrator.publish("tasks", job(id=ids[0])) == ids[0]

    def test_they_go_after_the_time_of_their_queue(
        self, timed: Orchestrator, clock: ManualClock
    ) -> None:
        timed.declare_queue("tasks", dead_letter_ttl=60)
        timed.publish("tasks", job())
        drain(timed, "tasks", fail)

        clock.advance(59)
        before = len(timed.dead_letters("tasks"))
        clock.advance(1)

        assert (before, len(timed.dead_letters("tasks"))) == (1, 0)

    def test_cleaning_leaves_them(self, orchestrator: Orchestrator) -> None:
        self.dead(orchestrator, 2)
        orchestrator.publish("tasks", job())

        cleaned = orchestrator.clean_queue("tasks")

        assert cleaned == 1
        assert stats(orchestrator, "tasks") == (0, 0, 0, 2)

    def test_deleting_takes_everything(self, orchestrator: Orchestrator) -> None:
        self.dead(orchestrator, 2)

        orchestrator.delete_queue("tasks")
        orchestrator.declare_queue("tasks", "stack")

        assert stats(orchestrator, "tasks") == (0, 0, 0, 0)


class TestReceiving:
    def test_a_job_is_taken_and_settled_in_one_step(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        orchestrator.publish("tasks", job(id="one"))

        taken = orchestrator.receive_message("tasks")

        assert taken is not None
        assert taken.id == "one"
        assert "options" not in taken
        assert stats(orchestrator, "tasks") == (0, 0, 0, 0)

    def test_it_waits_when_told_to(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")
        waiting = Background(lambda: orchestrator.receive_message("tasks", block=True))

        orchestrator.publish("tasks", job(id="one"))

        taken = waiting.result()
        assert taken is not None
        assert taken.id == "one"

    def test_it_waits_no_longer_than_told_to(self, orchestrator: Orchestrator) -> None:
        orchestrator.declare_queue("tasks")

        assert orchestrator.receive_message("tasks", block=True, timeout=0.01) is None


class TestSettings:
    @pytest.mark.process
    def test_the_backend_comes_from_the_environment(self, folder: Path) -> None:
        code = (
            "from mindtrace.jobs import Job, Orchestrator\n"
            "with Orchestrator() as orchestrator:\n"
            "    orchestrator.declare_queue('tasks')\n"
            "    orchestrator.publish('tasks', Job(name='any', payload={}))\n"
        )

        run_python(code, MINDTRACE_JOBS__BACKEND_URL=f"sqlite:///{folder}")

        with LocalClient(folder) as client:
            assert client.count_queue_messages("tasks") == 1

    def test_a_url_in_memory_is_one_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", "memory://")

        orchestrator = Orchestrator()

        assert isinstance(orchestrator.backend, LocalClient)
        assert orchestrator.backend.client_dir is None

    def test_a_folder_given_wins_over_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", "memory://")

        orchestrator = Orchestrator(orchestrator_dir=folder)

        assert isinstance(orchestrator.backend, LocalClient)
        assert orchestrator.backend.client_dir == folder
