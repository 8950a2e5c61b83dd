"""Who is alive, and who waits."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

import pytest
from jobs_support import start_python

from mindtrace.jobs import BackendUnavailableError
from mindtrace.jobs.local.presence import (
    RESULTS,
    SLOTS,
    FilePresence,
    MemoryPresence,
    Presence,
    _LockFile,  # pyright: ignore[reportPrivateUsage]
)
from mindtrace.jobs.testing.waiting import Background, seconds_of

if TYPE_CHECKING:
    from pathlib import Path

ONE = 1
TWO = 2
LONGER = 30.0
"""Seconds that nobody waits for: a wait that is not ended before has failed by then."""


@pytest.fixture(params=["memory", "files"])
def presence(request: pytest.FixtureRequest, tmp_path: Path) -> Presence:
    return MemoryPresence() if request.param == "memory" else FilePresence(tmp_path)


class TestSlots:
    def test_the_lowest_free_one_is_taken(self, presence: Presence) -> None:
        first, second = presence.acquire(), presence.acquire()
        presence.release(first)

        again = presence.acquire()

        assert (first, second, again) == (1, 2, 1)

    def test_a_living_one_cannot_be_seized(self, presence: Presence) -> None:
        slot = presence.acquire()

        assert presence.seize(slot) is False

    def test_a_dead_one_can_and_once_only(self, presence: Presence) -> None:
        assert presence.seize(7) is True
        assert presence.seize(7) is False

        presence.release(7)

        assert presence.seize(7) is True

    def test_when_all_are_taken_it_says_so(self, presence: Presence) -> None:
        for slot in range(1, SLOTS):
            assert presence.seize(slot)

        with pytest.raises(BackendUnavailableError, match="1023"):
            presence.acquire()

    def test_releasing_twice_is_fine(self, presence: Presence) -> None:
        slot = presence.acquire()

        presence.release(slot)
        presence.release(slot)

        assert presence.acquire() == slot


class TestWaking:
    def test_one_who_waits_for_it_is_rung(self, presence: Presence) -> None:
        slot = presence.acquire()
        presence.show(slot, (ONE,))
        waiting = Background(lambda: presence.wait(slot, LONGER))

        presence.ring(ONE, 1)

        waiting.result()

    def test_a_ring_before_the_wait_counts(self, presence: Presence) -> None:
        slot = presence.acquire()
        presence.show(slot, (ONE,))
        presence.ring(ONE, 1)

        assert seconds_of(lambda: presence.wait(slot, 5)) < 2

    def test_one_who_waits_for_something_else_is_not(self, presence: Presence) -> None:
        slot = presence.acquire()
        presence.show(slot, (TWO,))

        presence.ring(ONE, 1)

        assert seconds_of(lambda: presence.wait(slot, 0.1)) > 0.05

    def test_nobody_waiting_is_fine(self, presence: Presence) -> None:
        presence.acquire()

        presence.ring(ONE, 5)

    def test_no_more_are_rung_than_said(self, presence: Presence) -> None:
        slots = [presence.acquire() for _ in range(3)]
        for slot in slots:
            presence.show(slot, (ONE,))

        presence.ring(ONE, 2)

        for slot in slots[:2]:
            assert seconds_of(lambda slot=slot: presence.wait(slot, 60)) < 30
        assert seconds_of(lambda: presence.wait(slots[2], 0.1)) > 0.05

    def test_several_rings_are_one(self, presence: Presence) -> None:
        slot = presence.acquire()
        for _ in range(3):
            presence.wake(slot)

        presence.wait(slot, 5)

        assert seconds_of(lambda: presence.wait(slot, 0.1)) > 0.05

    def test_a_slot_is_woken_whatever_it_waits_for(self, presence: Presence) -> None:
        slot = presence.acquire()
        waiting = Background(lambda: presence.wait(slot, LONGER))

        presence.wake(slot)

        waiting.result()

    def test_waking_nobody_is_fine(self, presence: Presence) -> None:
        slot = presence.acquire()
        presence.release(slot)

        presence.wake(slot)

    def test_a_released_slot_waits_for_nothing(self, presence: Presence) -> None:
        slot = presence.acquire()
        presence.show(slot, (ONE,))
        presence.release(slot)

        presence.ring(ONE, 1)

        assert presence.acquire() == slot
        assert seconds_of(lambda: presence.wait(slot, 0.1)) > 0.05

    def test_one_who_waits_for_nothing_any_more_is_not_rung(self, presence: Presence) -> None:
        slot = presence.acquire()
        presence.show(slot, (ONE,))
        presence.show(slot, ())

        presence.ring(ONE, 1)

        assert seconds_of(lambda: presence.wait(slot, 0.1)) > 0.05

    def test_one_who_waits_for_many_queues_is_rung_for_each(self, presence: Presence) -> None:
        slot = presence.acquire()
        for queue in (1, 15, 30):
            presence.show(slot, tuple(range(1, 31)))

            presence.ring(queue, 1)

            assert seconds_of(lambda: presence.wait(slot, 5)) < 2

    def test_outcomes_are_no_queue(self, presence: Presence) -> None:
        for_outcomes, for_many = presence.acquire(), presence.acquire()
        presence.show(for_outcomes, (RESULTS,))
        presence.show(for_many, tuple(range(1, 31)))

        presence.ring(RESULTS, SLOTS)

        assert seconds_of(lambda: presence.wait(for_outcomes, 5)) < 2
        assert seconds_of(lambda: presence.wait(for_many, 0.1)) > 0.05

    def test_a_slot_released_later_is_free_at_the_next_look(self, presence: Presence) -> None:
        slot = presence.acquire()

        presence.release_later(slot)

        assert presence.acquire() == slot


def break_at(path: Path, *, folder: bool = False) -> None:
    """Put something there that is in the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if folder else path.touch()


class TestFiles:
    def test_a_folder_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        break_at(tmp_path / "holders.lock", folder=True)

        with pytest.raises(BackendUnavailableError, match=r"holders.lock") as caught:
            FilePresence(tmp_path).acquire()

        assert caught.value.transient is False

    def test_an_ordinary_file_in_the_place_of_a_pipe_is_replaced(self, tmp_path: Path) -> None:
        break_at(tmp_path / "wake" / "1")
        presence = FilePresence(tmp_path)

        slot = presence.acquire()

        assert stat.S_ISFIFO((tmp_path / "wake" / "1").stat().st_mode)
        presence.wake(slot)
        presence.wait(slot, 5)

    def test_a_folder_in_the_place_of_a_pipe_is_an_error_and_frees_the_slot(
        self, tmp_path: Path
    ) -> None:
        break_at(tmp_path / "wake" / "1", folder=True)
        presence = FilePresence(tmp_path)

        with pytest.raises(BackendUnavailableError):
            presence.acquire()

        (tmp_path / "wake" / "1").rmdir()
        assert presence.acquire() == 1

    def test_a_pipe_that_is_gone_or_has_no_reader_counts_for_nobody(self, tmp_path: Path) -> None:
        presence = FilePresence(tmp_path)
        slots = [presence.acquire() for _ in range(3)]
        for slot in slots:
            presence.show(slot, (ONE,))
        (tmp_path / "wake" / "1").unlink()
        (tmp_path / "wake" / "2").unlink()
        os.mkfifo(tmp_path / "wake" / "2")

        presence.ring(ONE, 1)

        assert seconds_of(lambda: presence.wait(slots[2], 5)) < 2

    def test_a_ring_that_fails_is_told_in_the_log_and_raises_nothing(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        presence = FilePresence(tmp_path)
        slot = presence.acquire()
        presence.show(slot, (ONE,))
        (tmp_path / "wake" / "1").unlink()
        (tmp_path / "wake" / "1").mkdir()

        presence.ring(ONE, 1)

        assert any(str(tmp_path) in each for each in caplog.messages)

    def test_a_full_pipe_wakes_all_the_same(self, tmp_path: Path) -> None:
        presence = FilePresence(tmp_path)
        slot = presence.acquire()
        pipe = os.open(tmp_path / "wake" / "1", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"\0" * 4096)
        os.close(pipe)

        presence.wake(slot)
        presence.show(slot, (ONE,))
        presence.ring(ONE, 1)

        assert seconds_of(lambda: presence.wait(slot, 5)) < 2

    def test_rings_for_the_one_before_are_not_heard(self, tmp_path: Path) -> None:
        presence = FilePresence(tmp_path)
        slot = presence.acquire()
        keep = os.open(tmp_path / "wake" / "1", os.O_RDWR | os.O_NONBLOCK)
        presence.wake(slot)
        presence.release(slot)

        again = presence.acquire()
        os.close(keep)

        assert again == slot
        assert seconds_of(lambda: presence.wait(again, 0.1)) > 0.05

    def test_two_of_one_process_know_of_each_other(self, tmp_path: Path) -> None:
        one, two = FilePresence(tmp_path), FilePresence(tmp_path)
        slot = one.acquire()

        assert two.seize(slot) is False
        assert two.acquire() != slot

    def test_two_folders_are_two_places(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            assert FilePresence(tmp_path / name).acquire() == 1

    def test_a_lock_that_fails_otherwise_is_no_sign_of_life(self, tmp_path: Path) -> None:
        locks = _LockFile(tmp_path / "holders.lock")  # pyright: ignore[reportPrivateUsage]
        os.close(locks._descriptor)  # pyright: ignore[reportPrivateUsage]

        with pytest.raises(OSError, match="Bad file descriptor"):
            locks.take(1)

    def test_a_short_file_of_the_waiting_is_filled(self, tmp_path: Path) -> None:
        (tmp_path / "waiting").write_bytes(b"\0" * 10)

        FilePresence(tmp_path).acquire()

        assert (tmp_path / "waiting").stat().st_size >= SLOTS


OTHER = """
import os, sys
from pathlib import Path
from mindtrace.jobs.local.presence import FilePresence
presence = FilePresence(Path(sys.argv[1]))
slot = presence.acquire()
presence.show(slot, (2,))
print(slot, flush=True)
presence.wait(slot, 30)
print("rung", flush=True)
"""


@pytest.mark.process
class TestProcesses:
    def test_another_process_has_another_slot_and_is_rung(self, tmp_path: Path) -> None:
        presence = FilePresence(tmp_path)
        mine = presence.acquire()
        child = start_python(OTHER, tmp_path, "end")
        assert child.stdout is not None
        slot = int(child.stdout.readline())

        assert slot != mine
        assert presence.seize(slot) is False
        presence.ring(2, 1)
        output, _ = child.communicate(timeout=20)

        assert output == "rung\n"

    def test_the_slot_of_a_killed_process_can_be_seized(self, tmp_path: Path) -> None:
        presence = FilePresence(tmp_path)
        child = start_python(OTHER, tmp_path, "end")
        assert child.stdout is not None
        slot = int(child.stdout.readline())

        child.kill()
        child.communicate(timeout=20)

        assert presence.seize(slot) is True
        presence.ring(2, 5)

    def test_a_forked_child_rings_and_owns_nothing(self, tmp_path: Path) -> None:
        code = """
import os, sys
from pathlib import Path
from mindtrace.jobs.local.presence import FilePresence
presence = FilePresence(Path(sys.argv[1]))
slot = presence.acquire()
presence.show(slot, (2,))
child = os.fork()
if child == 0:
    presence.release(slot)
    presence.ring(2, 1)
    os._exit(0 if presence.seize(slot) is False else 1)
_, status = os.waitpid(child, 0)
presence.wait(slot, 10)
print(status, presence.seize(slot))
"""
        child = start_python(code, tmp_path)

        output, errors = child.communicate(timeout=30)

        assert output.split() == ["0", "False"], errors
