import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any

import pytest

from mindtrace.core import Config, Mindtrace, MindtraceABC


class Part(Mindtrace):
    def fail(self) -> None:
        message = "broken"
        raise RuntimeError(message)


class Left(Mindtrace):
    def __init__(self, *, left: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.left = left


class Right:
    def __init__(self, *, right: int = 0) -> None:
        self.right = right


class Both(Left, Right):
    pass


def test_names_can_be_read_on_the_class_and_on_an_instance() -> None:
    assert Part.name == Part().name == "Part"
    assert Part.unique_name == Part().unique_name == f"{__name__}.Part"


def test_the_logger_lies_below_ours_and_is_named_after_the_class() -> None:
    assert Part.logger is Part().logger
    assert Part.logger.name == f"mindtrace.{__name__}.Part"


def test_an_instance_reads_the_settings_once_and_the_class_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", "/one")
    part = Part()
    first = part.config

    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", "/two")

    assert part.config is first
    assert part.config.dir_paths.root == Path("/one")
    assert Part.config.dir_paths.root == Path("/two")


def test_an_instance_may_have_values_of_its_own() -> None:
    part = Part()

    part.config = Config.model_validate({"dir_paths": {"root": "/own"}})
    part.name = "own"

    assert part.config.dir_paths.root == Path("/own")
    assert (part.name, Part.name) == ("own", "Part")


def test_keywords_travel_along_all_bases() -> None:
    both = Both(left=1, right=2)

    assert (both.left, both.right) == (1, 2)


@pytest.mark.parametrize("cls", [Part, Left])
def test_a_keyword_that_nobody_takes_is_refused(cls: type[Mindtrace]) -> None:
    with pytest.raises(TypeError, match=rf"{cls.__name__}\(\) .* keyword arguments: 'size', 'x'"):
        cls(size=1, x=2)


def test_an_abstract_class_stays_abstract() -> None:
    class Shape(MindtraceABC):
        @abstractmethod
        def area(self) -> float: ...

    class Square(Shape):
        def area(self) -> float:
            return 4.0

    with pytest.raises(TypeError, match="abstract"):
        Shape()  # pyright: ignore[reportAbstractUsage]
    assert Square().name == "Square"
    assert Square().area() == 4.0


def test_an_exception_in_the_block_is_logged_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="broken") as caught, Part() as part:
        part.fail()

    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "Part ended with an exception")
    assert record.exc_info is not None
    assert record.exc_info[1] is caught.value


def test_a_block_that_ends_well_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with Part():
        pass

    assert caplog.records == []
