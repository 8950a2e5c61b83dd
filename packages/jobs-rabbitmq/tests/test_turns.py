"""With a ledger: a job that waits gets its turn, though turns come early, twice or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rabbitmq_harness import LedgerHarness

from mindtrace.jobs.backend import Settlement
from mindtrace.jobs.testing.harness import ack, entry
from mindtrace.jobs.testing.waiting import Background, pause
from mindtrace.jobs_rabbitmq import ledger_holder
from mindtrace.jobs_rabbitmq.ledger import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def harness(rabbitmq_url: str, tmp_path: Path) -> Iterator[LedgerHarness]:
    with LedgerHarness(rabbitmq_url, tmp_path / "ledgers") as harness:
        yield harness


def ledger_store(harness: LedgerHarness) -> LedgerStore:
    store = harness.store
    assert isinstance(store, LedgerStore)
    return store


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_a_job_without_a_turn_is_found_by_a_consumer_that_waits_for_ever(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    monkeypatch.setattr(ledger_holder, "RESCUE_AFTER", 0.3)
    queue, store = harness.queue(), ledger_store(harness)
    holder = store.holder()
    waiting = Background(lambda: holder.receive([queue], limit=1, wait=None))
    pause(0.5)

    # and the publisher dies before it sends the turn
    store.ledger.publish(queue, [entry("left", delay=delay)])

    assert [each.id for each in waiting.result(within=20).deliveries] == ["left"]
    holder.close()


def test_a_job_without_a_turn_is_found_by_a_consumer_that_waits_for_long(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_holder, "RESCUE_AFTER", 0.3)
    queue, store = harness.queue(), ledger_store(harness)
    holder = store.holder()
    waiting = Background(lambda: holder.receive([queue], limit=1, wait=30))
    pause(0.5)

    store.ledger.publish(queue, [entry("left")])

    assert [each.id for each in waiting.result(within=20).deliveries] == ["left"]
    holder.close()


def test_a_job_without_a_turn_is_found_while_others_keep_coming(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_holder, "RESCUE_AFTER", 0.3)
    queue, store = harness.queue(), ledger_store(harness)
    store.ledger.publish(queue, [entry("left")])
    holder = store.holder()

    found: list[str] = []
    for number in range(100):
        store.publish(queue, [entry(f"job {number}")])
        (delivery,) = holder.receive([queue], limit=1, wait=20).deliveries
        found.append(delivery.id)
        holder.settle([ack(delivery)])
        if "left" in found:
            break
        pause(0.02)

    assert "left" in found
    holder.close()


def test_a_turn_that_comes_while_its_job_is_held_waits_for_the_outcome(
    harness: LedgerHarness,
) -> None:
    """As that of a retry does when settling takes longer than the pause before it."""
    queue, store = harness.queue(), ledger_store(harness)
    store.publish(queue, [entry("slow")])
    one, other = store.holder(), store.holder()
    (held,) = one.receive([queue], limit=1, wait=10).deliveries
    store.send_turns(queue, [("slow", 0, 0.0)])
    assert other.receive([queue], limit=1, wait=0.5).deliveries == []

    # what `one` does when it has sent that turn
    assert one.ledger.settle([Settlement(held, "nack", attempts=1)]) == []

    (again,) = other.receive([queue], limit=1, wait=10).deliveries
    assert (again.id, again.attempts) == ("slow", 1)
    one.close()
    other.close()


def test_a_turn_that_comes_before_its_job_is_due_waits(harness: LedgerHarness) -> None:
    queue, store = harness.queue(), ledger_store(harness)
    store.ledger.publish(queue, [entry("early", delay=60.0)])
    store.send_turns(queue, [("early", 0, 0.0)])
    holder = store.holder()
    assert holder.receive([queue], limit=1, wait=0.3).deliveries == []

    harness.clock.ahead += 60
    assert [each.id for each in holder.receive([queue], limit=1, wait=20).deliveries] == ["early"]
    holder.close()


def test_a_turn_of_a_job_that_has_finished_is_dropped(harness: LedgerHarness) -> None:
    queue, store = harness.queue(), ledger_store(harness)
    store.publish(queue, [entry("done", keep=60.0)])
    holder = store.holder()
    (held,) = holder.receive([queue], limit=1, wait=10).deliveries
    holder.settle([Settlement(held, "ack")])
    store.send_turns(queue, [("done", 0, 0.0), ("unknown", 0, 0.0)])

    assert holder.receive([queue], limit=1, wait=1.5).deliveries == []
    stats = store.broker.stats(queue)
    assert (stats.ready, stats.delayed) == (0, 0)
    holder.close()


def test_an_id_that_is_used_again_may_take_the_turn_of_before_and_loses_nobody_anything(
    harness: LedgerHarness,
) -> None:
    queue, store = harness.queue(), ledger_store(harness)
    for each in ("again", "other"):
        store.publish(queue, [entry(each)])
    assert store.cancel("again")
    store.publish(queue, [entry("again")])
    holder = store.holder()

    found: list[str] = []
    for _ in range(2):
        (delivery,) = holder.receive([queue], limit=1, wait=10).deliveries
        assert holder.settle([Settlement(delivery, "ack")]) == []
        found.append(delivery.id)

    assert sorted(found) == ["again", "other"]
    assert holder.receive([queue], limit=1, wait=0.5).deliveries == []
    assert store.stats(queue).ready == 0
    holder.close()
