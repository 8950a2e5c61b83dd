import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mindtrace.core import get_logger, log_context, setup_logging


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    logger = logging.getLogger("mindtrace")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("jobs", "mindtrace.jobs"),
        ("mindtrace.jobs", "mindtrace.jobs"),
        ("mindtrace", "mindtrace"),
        ("mindtraceless", "mindtrace.mindtraceless"),
    ],
)
def test_every_logger_lies_below_ours(given: str, name: str) -> None:
    assert get_logger(given).name == name
    assert get_logger().name == "mindtrace"


def test_text_lines_carry_time_level_name_message_and_fields(stream: io.StringIO) -> None:
    setup_logging("INFO", "text", stream)

    get_logger("jobs").info("took %d", 3, extra={"queue": "a", "note": "two words", "empty": ""})

    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("2020-01-01T00:00:00.000Z")
    assert time.endswith("Z")
    assert rest == 'INFO mindtrace.jobs took 3 queue=a note="two words" empty=""\n'


@pytest.mark.parametrize("value", ["a\nb", 'a"b', "a=b", "\x1b[31m"])
def test_an_odd_value_stays_one_word_on_its_line(stream: io.StringIO, value: str) -> None:
    setup_logging("INFO", "text", stream)

    get_logger().info("x", extra={"odd": value})

    assert stream.getvalue().endswith(f"x odd={json.dumps(value)}\n")


def test_json_lines_carry_the_same(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)

    get_logger("jobs").warning("took %d", 3, extra={"queue": "a", "count": 2})

    [entry] = entries(stream)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "WARNING",
        "logger": "mindtrace.jobs",
        "message": "took 3",
        "queue": "a",
        "count": 2,
    }


def fail() -> None:
    message = "broken"
    raise RuntimeError(message)


@pytest.mark.parametrize("format_", ["text", "json"])
def test_an_exception_comes_with_its_traceback(stream: io.StringIO, format_: Any) -> None:
    setup_logging("INFO", format_, stream)

    try:
        fail()
    except RuntimeError:
        get_logger().exception("it failed", extra={"step": 1})

    text = stream.getvalue() if format_ == "text" else entries(stream)[0]["exception"]
    assert "Traceback" in text
    assert "RuntimeError: broken" in text


def test_a_stack_is_part_of_a_json_line(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)

    get_logger().info("here", stack_info=True)

    assert "test_log.py" in entries(stream)[0]["stack"]


def test_a_field_that_has_the_name_of_ours_is_renamed(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)

    get_logger().info("x", extra={"level": 3, "time": "noon"})

    [entry] = entries(stream)
    assert (entry["level"], entry["level_"], entry["time_"]) == ("INFO", 3, "noon")


def test_a_value_that_json_cannot_hold_becomes_text(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)
    circle: list[object] = []
    circle.append(circle)

    get_logger().info("x", extra={"number": float("nan"), "circle": circle, "kind": 1j, "fine": 2})
    get_logger().info("x", extra={"kind": 1j})

    first, second = entries(stream)
    assert (first["number"], first["circle"], first["fine"]) == ("nan", "[[...]]", 2)
    assert first["kind"] == second["kind"] == "1j"


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_context_adds_its_fields_to_every_line_inside(stream: io.StringIO, format_: Any) -> None:
    setup_logging("INFO", format_, stream)

    with log_context(job="j-1"):
        get_logger("one").info("x")
        get_logger("two").info("x")
    get_logger().info("x")

    lines = stream.getvalue().splitlines()
    assert ["j-1" in line for line in lines] == [True, True, False]


def test_contexts_nest_and_the_inner_field_hides_the_outer(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)

    with log_context(a=1, b=1):
        with log_context(b=2, c=2):
            get_logger().info("inner", extra={"c": 3})
        get_logger().info("outer")

    inner, outer = entries(stream)
    assert (inner["a"], inner["b"], inner["c"]) == (1, 2, 3)
    assert (outer["a"], outer["b"], "c" in outer) == (1, 1, False)


def test_a_context_ends_with_an_exception_too(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)

    with pytest.raises(RuntimeError), log_context(a=1):
        fail()
    get_logger().info("after")

    assert "a" not in entries(stream)[0]


def test_a_context_stays_in_its_thread(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)

    with log_context(a=1):
        thread = threading.Thread(target=get_logger().info, args=("elsewhere",))
        thread.start()
        thread.join(10)

    assert "a" not in entries(stream)[0]


def test_setting_up_again_replaces_and_never_doubles(stream: io.StringIO) -> None:
    first = io.StringIO()
    setup_logging("INFO", "text", first)

    setup_logging("INFO", "json", stream)
    setup_logging("INFO", "json", stream)
    get_logger().info("once")

    assert first.getvalue() == ""
    assert [entry["message"] for entry in entries(stream)] == ["once"]


def test_handlers_of_others_stay(stream: io.StringIO) -> None:
    other = logging.StreamHandler(stream)
    logging.getLogger("mindtrace").addHandler(other)

    setup_logging("INFO", "text", io.StringIO())
    get_logger().info("both")

    assert stream.getvalue() == "both\n"


@pytest.mark.parametrize("level", ["warning", "WARNING", logging.WARNING])
def test_lines_below_the_level_are_dropped(stream: io.StringIO, level: str | int) -> None:
    setup_logging(level, "text", stream)

    get_logger().info("too low")
    get_logger().warning("enough")

    assert "too low" not in stream.getvalue()
    assert "enough" in stream.getvalue()


def test_what_is_not_given_comes_from_the_settings(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDTRACE_LOGGER__LEVEL", "DEBUG")
    monkeypatch.setenv("MINDTRACE_LOGGER__FORMAT", "json")

    setup_logging(stream=stream)
    get_logger().debug("deep")
    setup_logging(level="INFO", stream=stream)
    get_logger().debug("dropped")
    setup_logging(format="text", stream=stream)
    get_logger().debug("text")

    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["message"] == "deep"
    assert second.endswith("DEBUG mindtrace text")


def test_the_stream_is_stderr_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    setup_logging("INFO", "text")
    get_logger().info("seen")

    assert "seen" in stream.getvalue()


def test_an_unknown_format_or_level_is_refused_and_changes_nothing(stream: io.StringIO) -> None:
    setup_logging("INFO", "json", stream)
    unknown: Any = "xml"

    with pytest.raises(ValueError, match="must be 'text' or 'json', found 'xml'"):
        setup_logging("INFO", unknown)
    with pytest.raises(ValueError, match="LOUD"):
        setup_logging("loud", "text")
    get_logger().info("still json")

    assert entries(stream)[0]["message"] == "still json"
