"""Rules 2, 3, 11 and 22 with real processes and signals, for stores that several can reach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from mindtrace.core.clock import SystemClock
from mindtrace.jobs.backend import QueueOptions, QueueSpec
from mindtrace.jobs.loading import backend_from_url
from mindtrace.jobs.testing.harness import Counts, Harness, ack, entry, ids
from mindtrace.jobs.testing.waiting import eventually, pause, seconds_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from mindtrace.jobs.backend import Delivery
    from mindtrace.jobs.client import OrchestratorBackend

LEASE = 2.0
"""Seconds after which a store with timed leases notices a death, in these tests."""

ENOUGH = 50
"""Jobs that keep the workers busy until the next kill."""

WITHIN = 3.0
"""Seconds in which the jobs of a killed process must be with somebody else."""


class Child:
    """A process in one of the roles of `child.py`."""

    def __init__(self, role: str, url: str, queue: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "mindtrace.jobs.testing.child", role, url, queue],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.strip())

    def said(self, words: str, within: float = 20.0) -> str:
        """Wait for a line that begins with these words, and return the rest of it."""

        def found() -> str | None:
            return next((line for line in list(self.lines) if line.startswith(words)), None)

        eventually(lambda: found() is not None or self.ended(), within=within, what=words)
        line = found()
        assert line is not None, f"ended with {self.process.returncode}, saying {self.lines}"
        return line.removeprefix(words).strip()

    def ended(self) -> bool:
        """Whether it has ended and said all it will say."""
        return self.process.poll() is not None and not self._reader.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, within: float = 20.0) -> int:
        """Wait for its end, and return its exit code."""
        code = self.process.wait(within)
        self._reader.join(within)
        return code

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.process.kill()
        self.wait()


class Place:
    """A queue in a place that other processes reach, seen in real time."""

    def __init__(self, harness: Harness, client: OrchestratorBackend, url: str) -> None:
        self.url = url
        self.client = client
        self.harness = harness
        self.queue = harness.unique("shared")
        self._children: list[Child] = []
        options = QueueOptions(lease=LEASE, max_deliveries=50)
        client.store.declare_queue(QueueSpec(self.queue, options=options))

    def child(self, role: str) -> Child:
        """Start a process on this queue."""
        self._children.append(Child(role, self.url, self.queue))
        return self._children[-1]

    def publish(self, count: int = 1) -> list[str]:
        """Publish empty jobs."""
        entries = [entry(body='{"payload": {}}') for _ in range(count)]
        return self.client.store.publish(self.queue, entries)

    def counts(self) -> Counts:
        """Count the jobs by state."""
        found = self.client.store.stats(self.queue)
        return Counts(found.ready, found.delayed, found.leased, found.dead)

    def end(self) -> None:
        """End what still runs."""
        for child in self._children:
            if child.process.poll() is None:
                child.kill()
        self.client.close()


@contextmanager
def place_of(harness: Harness) -> Generator[Place]:
    """Give a queue that other processes reach."""
    assert harness.url is not None, "give the harness a url, or use InProcessContract"
    place = Place(harness, backend_from_url(harness.url), harness.url)
    try:
        yield place
    finally:
        place.end()


@pytest.mark.process
class Rule02Killed:
    """SIGKILL at any instant: the job runs again, and none is lost."""

    def test_a_storm_of_kills_loses_nothing(self, harness: Harness) -> None:
        with place_of(harness) as place:
            wanted = set(place.publish(150))
            finished: set[str] = set()
            hit = 0
            workers = [place.child("quick") for _ in range(2)]
            for turn in range(4):
                victim = workers[turn % 2]

                def began(victim: Child = victim) -> bool:
                    # however slowly the victim starts, the other one must not finish alone
                    if place.counts().ready < ENOUGH:
                        wanted.update(place.publish(ENOUGH))
                    return bool(_begun(victim))

                eventually(began, within=30, what="the victim's first job")
                pause(0.1 + 0.05 * turn)
                victim.kill()
                hit += len(_begun(victim)) - len(_finished(victim))
                finished |= set(_finished(victim))
                workers[turn % 2] = place.child("quick")
            eventually(lambda: place.counts() == Counts(), within=40, what="emptying the queue")
            for worker in workers:
                worker.signal(signal.SIGTERM)
                assert worker.wait() == 0
                finished |= set(_finished(worker))

            assert hit > 0, "no kill hit a running job: the storm tested nothing"
            assert finished == wanted


def _begun(child: Child) -> list[str]:
    return [line.split()[1] for line in child.lines if line.startswith("began")]


def _finished(child: Child) -> list[str]:
    return [line.split()[1] for line in child.lines if line.startswith("finished")]


@pytest.mark.process
class Rule03Processes:
    """A lease lives exactly as long as the process that holds it."""

    def test_the_job_of_a_killed_process_is_with_another_in_time(self, harness: Harness) -> None:
        with place_of(harness) as place:
            (job_id,) = place.publish()
            child = place.child("hold")
            assert child.said("holds") == job_id
            holder = place.client.store.holder()
            assert holder.receive([place.queue], limit=1, wait=0).deliveries == []

            child.kill()
            found: list[str] = []
            waited = seconds_of(
                lambda: found.extend(
                    ids(holder.receive([place.queue], limit=1, wait=20).deliveries)
                )
            )

            assert found == [job_id]
            assert waited <= WITHIN
            holder.close()

    def test_a_lease_outlives_its_time_while_a_handler_holds_the_interpreters_lock(
        self, harness: Harness
    ) -> None:
        with place_of(harness) as place:
            (job_id,) = place.publish()
            child = place.child("locked")
            assert child.said("began") == f"{job_id} 0"
            holder = place.client.store.holder()

            while child.process.poll() is None and not _finished(child):
                assert holder.receive([place.queue], limit=1, wait=0.2).deliveries == []

            assert child.wait() == 0
            assert child.said("handled") == "1"
            assert place.counts() == Counts()
            holder.close()

    def test_the_lease_of_a_killed_process_does_not_live_on_in_a_child_it_forked(
        self, harness: Harness
    ) -> None:
        with place_of(harness) as place:
            (job_id,) = place.publish()
            child = place.child("fork-and-die")
            held, _, orphan = child.said("holds").partition(" ")
            assert held == job_id

            child.process.kill()
            try:
                child.process.wait(20)
                holder = place.client.store.holder()
                began = SystemClock().monotonic()
                found = holder.receive([place.queue], limit=1, wait=20).deliveries
                waited = SystemClock().monotonic() - began
            finally:
                with suppress(ProcessLookupError):
                    os.kill(int(orphan), signal.SIGKILL)

            assert ids(found) == [job_id]
            assert found[0].lost == 1
            assert waited <= WITHIN
            assert holder.settle([ack(found[0])]) == []
            holder.close()


@pytest.mark.process
class Rule11Signals:
    """SIGTERM and SIGINT finish the job in hand; a second one ends at once."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_finishes_the_job_in_hand_and_releases_the_rest(
        self, harness: Harness, number: signal.Signals
    ) -> None:
        with place_of(harness) as place:
            wanted = place.publish(40)
            child = place.child("short")
            child.said("began")

            child.signal(number)

            assert child.wait() == 0
            done = _finished(child)
            assert done == _begun(child)
            assert child.said("handled") == str(len(done))
            assert place.counts() == Counts(ready=40 - len(done))
            holder = place.client.store.holder()
            rest: list[Delivery] = []
            while len(rest) + len(done) < 40:
                found = holder.receive([place.queue], limit=40, wait=20).deliveries
                assert found, "a job is missing"
                rest += found
            assert sorted([*done, *ids(rest)]) == sorted(wanted)
            assert {(each.attempts, each.lost) for each in rest} == {(0, 0)}
            holder.close()

    def test_a_second_signal_ends_a_handler_that_takes_for_ever(self, harness: Harness) -> None:
        with place_of(harness) as place:
            (job_id,) = place.publish()
            child = place.child("long")
            child.said("began")

            child.signal(signal.SIGTERM)
            pause(1.0)  # two that come together count as one
            assert child.process.poll() is None
            child.signal(signal.SIGTERM)

            child.wait()
            assert _finished(child) == []
            holder = place.client.store.holder()
            (again,) = holder.receive([place.queue], limit=1, wait=20).deliveries
            assert (again.id, again.lost) == (job_id, 1)
            holder.close()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_an_idle_consumer_ends_at_once(self, harness: Harness, number: signal.Signals) -> None:
        with place_of(harness) as place:
            place.publish()
            child = place.child("quick")
            child.said("finished")
            pause(0.2)

            child.signal(number)

            assert child.wait() == 0
            assert child.said("handled") == "1"


@pytest.mark.process
class Rule22Forks:
    """After a fork the child reopens what it uses, and owns none of its parent's deliveries."""

    def test_a_child_uses_the_client_and_leaves_its_parents_job_alone(
        self, harness: Harness
    ) -> None:
        with place_of(harness) as place:
            place.publish()

            child = place.child("fork-and-use")

            assert child.wait(within=60) == 0, child.lines
            assert child.lines == [
                "child has from the child",
                "child's settle was refused: 0",
                "child ended 0",
                "counts 0 1",
                "refused 0",
            ]
            assert place.counts() == Counts()
