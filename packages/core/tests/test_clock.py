from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from mindtrace.core import Clock, ManualClock, SystemClock, utcnow, utcnow_iso


def test_the_system_clock_tells_the_time_and_waits() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()

    clock.sleep(0.01)
    clock.sleep(-1)

    assert clock.monotonic() - before >= 0.01
    assert abs(datetime.fromtimestamp(clock.now(), tz=UTC) - utcnow()) < timedelta(minutes=1)
    assert repr(clock) == "SystemClock()"


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock: Clock = ManualClock(100.0)

    assert (clock.now(), clock.now(), clock.monotonic()) == (100.0, 100.0, 0.0)


def test_a_manual_clock_moves_by_hand_and_by_sleeping() -> None:
    clock = ManualClock(100.0)

    clock.advance(5)
    clock.sleep(2.5)
    clock.sleep(-1)

    assert (clock.now(), clock.monotonic()) == (107.5, 7.5)
    assert repr(clock) == "ManualClock(now=107.5)"


def test_a_manual_clock_does_not_run_backwards() -> None:
    clock = ManualClock()

    with pytest.raises(ValueError, match="forward only: expected 0 or more seconds, found -1"):
        clock.advance(-1)

    assert clock.now() == 0


def test_no_move_is_lost_between_threads() -> None:
    clock = ManualClock()

    def move(times: int) -> None:
        for _ in range(times):
            clock.advance(1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, [500] * 8))

    assert clock.monotonic() == 4000


def test_the_current_time_knows_its_zone() -> None:
    assert utcnow(ManualClock(0)) == datetime(1970, 1, 1, tzinfo=UTC)
    assert utcnow().tzinfo is UTC


def test_times_as_text_sort_as_times() -> None:
    texts = [utcnow_iso(ManualClock(seconds)) for seconds in (0, 0.5, 1, 1_000_000)]

    assert texts[0] == "1970-01-01T00:00:00.000000Z"
    assert texts == sorted(texts)
    assert {len(text) for text in texts} == {27}
    assert datetime.fromisoformat(utcnow_iso()).tzinfo is not None
