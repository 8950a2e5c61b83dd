"""Structured lines on top of the standard `logging`.

Libraries take a logger with `get_logger`, which configures nothing. A program calls
`setup_logging` once, and chooses between text for people and JSON for machines.
"""

import json
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    Handler = logging.StreamHandler[TextIO]
else:
    Handler = logging.StreamHandler

ROOT = "mindtrace"
# Without it, a program that configured no logging would see our warnings on stderr, unformatted.
logging.getLogger(ROOT).addHandler(logging.NullHandler())

RESERVED = frozenset(
    {*logging.makeLogRecord({}).__dict__, "asctime", "color_message", "message", "taskName"}
)
_OWN = frozenset({"time", "level", "logger", "message", "exception", "stack"})
_EMPTY: Mapping[str, object] = MappingProxyType({})
_context: ContextVar[Mapping[str, object]] = ContextVar("mindtrace_log_context", default=_EMPTY)


def get_logger(name: str = ROOT) -> logging.Logger:
    """Return the standard logger of that name, below `mindtrace`.

    `jobs` and `mindtrace.jobs` name the same logger. Nothing is configured: until the program
    does so, the lines go nowhere.
    """
    if name != ROOT and not name.startswith(f"{ROOT}."):
        name = f"{ROOT}.{name}"
    return logging.getLogger(name)


@contextmanager
def log_context(**fields: object) -> Generator[None]:
    """Add fields to every line that is logged in the block, in both formats.

    Blocks nest; an inner field hides an outer one of the same name, and a field given to the line
    itself hides both. The fields follow `await`, but not a new thread unless the context is copied
    into it. They are added by the handler of `setup_logging` and no other.
    """
    token = _context.set(MappingProxyType({**_context.get(), **fields}))
    try:
        yield
    finally:
        _context.reset(token)


def setup_logging(
    level: str | int | None = None,
    format: Literal["text", "json"] | None = None,  # noqa: A002 - the word of the setting
    stream: TextIO | None = None,
) -> None:
    """Send the lines of all Mindtrace loggers to a stream, stderr unless given.

    What is not given comes from the settings `MINDTRACE_LOGGER__LEVEL` (default `INFO`) and
    `MINDTRACE_LOGGER__FORMAT` (default `text`). Calling it again replaces the earlier set-up and
    never doubles a line. Other loggers, the root logger among them, stay as they are: a program
    that also has a handler on the root logger sees each line there, too.

    Raises:
        InvalidSettingError: A setting that is needed here is not usable.
        ValueError: The level or the format is unknown.
    """
    if level is None or format is None:
        from mindtrace.core.settings import get_config  # noqa: PLC0415 - pydantic-settings is slow to load

        settings = get_config().logger
        level = settings.level if level is None else level
        format = settings.format if format is None else format  # noqa: A001
    handler = _OurHandler(stream)
    handler.setFormatter(_formatter(format))
    logger = logging.getLogger(ROOT)
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    for old in [one for one in logger.handlers if isinstance(one, _OurHandler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)


def _formatter(format: str) -> logging.Formatter:  # noqa: A002
    match format:
        case "text":
            return _TextFormatter()
        case "json":
            return _JsonFormatter()
        case _:
            message = f"The log format must be 'text' or 'json', found {format!r}."
            raise ValueError(message)


class _OurHandler(Handler):
    """Is told apart from handlers of others, so that it can be replaced."""


def _fields(record: logging.LogRecord) -> dict[str, object]:
    extra = {name: value for name, value in vars(record).items() if name not in RESERVED}
    merged = {**_context.get(), **extra}
    return {f"{name}_" if name in _OWN else name: value for name, value in merged.items()}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = f"{_time(record)} {record.levelname} {record.name} {record.message}"
        return " ".join(
            [line, *(f"{name}={_word(value)}" for name, value in _fields(record).items())]
        )


def _word(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not {*' "='} & {*text} else json.dumps(text)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        try:
            return json.dumps(entry, default=str, allow_nan=False)
        except (TypeError, ValueError):
            return json.dumps({name: _jsonable(value) for name, value in entry.items()})


def _jsonable(value: object) -> object:
    """Return what JSON can hold: not-a-number, odd keys and circles become text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value
