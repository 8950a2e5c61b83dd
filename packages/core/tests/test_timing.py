import pytest

from mindtrace.core import ManualClock, SystemClock, Timeout, Timer


class Flaky:
    """Fails a number of times, then gives its arguments back."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("not yet")
        self.calls = 0

    def __call__(self, value: int, *, plus: int = 0) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return value + plus


def test_a_function_that_works_is_called_once() -> None:
    clock = ManualClock()
    work = Flaky(0)

    assert Timeout(clock=clock).run(work, 3, plus=4) == 7
    assert (work.calls, clock.monotonic()) == (1, 0)


def test_a_function_is_repeated_until_it_works() -> None:
    clock = ManualClock()
    work = Flaky(3)

    assert Timeout(timeout=60, retry_delay=5, clock=clock).run(work, 3) == 3
    assert (work.calls, clock.monotonic()) == (4, 15)


def test_the_time_being_up_is_a_timeout_with_the_last_error() -> None:
    clock = ManualClock()
    work = Flaky(99)

    with pytest.raises(TimeoutError, match=r"loading did not succeed within 2\.5 s") as caught:
        Timeout(timeout=2.5, retry_delay=1, desc="loading", clock=clock).run(work, 3)

    assert caught.value.__cause__ is work.error
    assert (work.calls, clock.monotonic()) == (4, 2.5)


def test_no_time_is_one_call() -> None:
    work = Flaky(99)

    with pytest.raises(TimeoutError):
        Timeout(timeout=0).run(work, 3)

    assert work.calls == 1


def test_an_error_that_does_not_mean_not_yet_passes_at_once() -> None:
    work = Flaky(2, ValueError("wrong"))

    with pytest.raises(ValueError, match="wrong"):
        Timeout(exceptions=(ConnectionError, KeyError), clock=ManualClock()).run(work, 3)

    assert work.calls == 1


def test_a_decorated_function_is_repeated_at_each_call() -> None:
    clock = ManualClock()
    work = Flaky(1)

    @Timeout(timeout=10, retry_delay=2, clock=clock)
    def load(value: int) -> int:
        return work(value)

    assert (load(1), load(value=2)) == (1, 2)
    assert load.__name__ == "load"
    assert (work.calls, clock.monotonic()) == (3, 2)


def test_the_error_names_the_function() -> None:
    def load() -> None:
        raise ConnectionError

    with pytest.raises(TimeoutError, match=r"^load did not succeed within 0 seconds"):
        Timeout(timeout=0).run(load)
    with pytest.raises(TimeoutError, match=r"^<.*Flaky object"):
        Timeout(timeout=0).run(Flaky(1), 3)


def test_an_async_function_is_refused() -> None:
    async def load() -> None: ...

    with pytest.raises(TypeError, match="repeats plain functions; load is async"):
        _ = Timeout().run(load)


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()

    Timeout(9, 4, progress_bar=True, desc="loading", clock=clock).run(Flaky(2), 3)

    assert capsys.readouterr().err == "\rloading: 0 of 9 s\rloading: 4 of 9 s\n"


def test_nothing_is_shown_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    Timeout(9, 4, clock=ManualClock()).run(Flaky(2), 3)

    assert capsys.readouterr().err == ""


def test_waiting_uses_the_clock_of_the_machine_unless_told_otherwise() -> None:
    clock = SystemClock()
    before = clock.monotonic()

    Timeout(timeout=10, retry_delay=0.01).run(Flaky(1), 3)

    assert clock.monotonic() - before >= 0.01


def test_a_timer_measures_a_block() -> None:
    clock = ManualClock()

    with Timer(clock=clock) as timer:
        clock.advance(3)
        assert timer.duration == 3
    clock.advance(5)

    assert timer.duration == 3


def test_a_timer_adds_up_its_stretches() -> None:
    clock = ManualClock()
    timer = Timer(clock=clock)

    for seconds in (1, 2):
        timer.start()
        clock.advance(seconds)
        timer.start()
        assert timer.stop() == timer.duration
        clock.advance(10)

    assert timer.stop() == 3


def test_a_timer_forgets_on_request() -> None:
    clock = ManualClock()
    timer = Timer(clock=clock)
    timer.start()
    clock.advance(1)

    timer.restart()
    clock.advance(2)
    assert timer.duration == 2

    timer.reset()
    clock.advance(4)
    assert timer.duration == 0


def test_a_timer_uses_the_clock_of_the_machine_unless_told_otherwise() -> None:
    with Timer() as timer:
        SystemClock().sleep(0.01)

    assert timer.duration >= 0.01
