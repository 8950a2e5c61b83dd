import asyncio
import logging

import pytest

from mindtrace.core import ManualClock, get_logger, track_operation


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mindtrace")


def facts(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [(record.getMessage(), vars(record).get("duration")) for record in caplog.records]


def fail(error: BaseException) -> None:
    raise error


def test_a_block_logs_its_start_and_its_end_with_the_duration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()

    with track_operation("build", clock=clock, pages=3):
        clock.advance(2.5)

    assert facts(caplog) == [("build started", None), ("build completed", 2.5)]
    last = vars(caplog.records[-1])
    assert (last["operation"], last["status"], last["pages"]) == ("build", "completed", 3)
    assert (last["levelno"], last["name"]) == (logging.INFO, "mindtrace.operation")


def test_a_failure_is_logged_with_its_traceback_and_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    problem = RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), track_operation("build"):
        fail(problem)

    last = caplog.records[-1]
    assert (last.getMessage(), last.levelno) == ("build failed", logging.ERROR)
    assert last.exc_info is not None
    assert last.exc_info[1] is problem


def test_being_stopped_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt), track_operation("build"):
        fail(KeyboardInterrupt())

    last = caplog.records[-1]
    assert (last.getMessage(), last.levelno, last.exc_info) == (
        "build stopped",
        logging.INFO,
        None,
    )


def test_logger_and_level_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    with track_operation("build", logger=get_logger("mine"), level=logging.DEBUG):
        pass

    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("mindtrace.mine", logging.DEBUG)
    }


def test_a_field_may_have_a_name_that_logging_keeps_for_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with track_operation("build", module="m", args=1):
        pass

    last = vars(caplog.records[-1])
    assert (last["module_"], last["args_"]) == ("m", 1)


def test_an_unnamed_block_is_an_operation(caplog: pytest.LogCaptureFixture) -> None:
    with track_operation():
        pass

    assert caplog.records[0].getMessage() == "operation started"


def test_each_call_of_a_decorated_function_is_tracked(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()

    @track_operation("doubling", clock=clock)
    def double(number: int) -> int:
        clock.advance(number)
        return number * 2

    assert (double(3), double(number=4)) == (6, 8)
    assert double.__name__ == "double"
    assert [one for one in facts(caplog) if one[1]] == [
        ("doubling completed", 3),
        ("doubling completed", 4),
    ]


def test_a_decorated_function_gives_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    @track_operation()
    def halve(number: int) -> float:
        return number / 2

    halve(3)

    assert vars(caplog.records[-1])["operation"] == halve.__qualname__


def test_an_async_function_is_tracked_until_it_has_run(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()

    @track_operation("waiting", clock=clock)
    async def wait(seconds: float) -> str:
        await asyncio.sleep(0)
        clock.advance(seconds)
        return "done"

    assert asyncio.run(wait(2)) == "done"
    assert facts(caplog) == [("waiting started", None), ("waiting completed", 2)]


def test_an_async_block_is_tracked(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with track_operation("block"):
            await asyncio.sleep(0)

    asyncio.run(run())

    assert [message for message, _ in facts(caplog)] == ["block started", "block completed"]


def test_a_block_may_be_entered_again_after_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    operation = track_operation("twice", clock=clock)

    for seconds in (1, 2):
        with operation:
            clock.advance(seconds)

    assert [duration for _, duration in facts(caplog) if duration] == [1, 2]
