"""A job as an AMQP message, and back.

The body is the job's own text. The job's id is the message id; what else the store must know
travels in one header, as JSON, because a header of one text is much cheaper to read than a table. A
message without it comes from somebody else, and gets an entry of its own when it is first received.
"""

from __future__ import annotations

import json
import os
import uuid
from itertools import count, product
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from mindtrace.jobs.backend import Delivery, Entry, Failure

if TYPE_CHECKING:
    from pika.spec import BasicProperties

    from mindtrace.jobs_rabbitmq.deliveries import Properties

HEADER = "x-mindtrace"

LONGEST_ID = 255
"""Bytes that AMQP allows for a message id."""

MOST_PRIORITY = 255

_NUMBER = (float, int)
_MAYBE = (float, int, type(None))
_SHAPES: frozenset[tuple[type, ...]] = frozenset(
    product(
        *([str], [str], _NUMBER, [int], [int], [int], [int]),
        *(_MAYBE, _MAYBE, _MAYBE, _NUMBER),
    )
)
"""The types of an envelope's fields: anybody can write a header, and this is quick to check."""


_SHORT = (str, float)
_PLAIN = (0, 0, 0, 0, None, None, None)
"""What stands between the moments of publishing and sending in the envelope of most jobs: nothing
was counted, and nothing asked for."""


class Envelope(NamedTuple):
    """What travels with a job beside its body; in the header all but the id, in this order."""

    id: str
    entry: str
    published_at: float
    delivery: int = 0
    """How many deliveries were handed out before this message was sent."""
    attempts: int = 0
    lost: int = 0
    priority: int = 0
    keep: float | None = None
    expires_at: float | None = None
    due_at: float | None = None
    sent_at: float = 0.0
    """When this very message was sent; a job that comes back is sent again."""

    def header(self) -> str:
        """Return the text of the header; that of a job sent for the first time is short."""
        entry, published_at = self.entry, self.published_at
        if self[3:] == (*_PLAIN, published_at):
            return f'["{entry}",{published_at!r}]'
        return json.dumps(self[1:], separators=(",", ":"))

    def again(self, now: float, **changes: Any) -> Envelope:
        """Return the envelope of the same job sent once more."""
        return self._replace(sent_at=now, due_at=None)._replace(**changes)

    def fresh(self, now: float) -> Envelope:
        """Return the envelope of the same job when it begins again: only its number goes on."""
        return self.again(now, attempts=0, lost=0, expires_at=None)

    def handed_out(self, body: str, queue: str) -> Delivery:
        """Return the delivery that handing this message out makes."""
        return Delivery(
            self.entry,
            self.id,
            body,
            self.delivery + 1,
            self.attempts,
            self.lost,
            self.priority,
            self.keep,
            queue,
        )


class Message(NamedTuple):
    """A message as it was received."""

    tag: int
    redelivered: bool
    source: str
    """The broker's queue it came from."""
    properties: BasicProperties | Properties
    body: bytes


class Entries:
    """Makes names for entries, never the same twice: random for the process, then counted."""

    def __init__(self) -> None:
        self._pid = 0
        self._prefix = ""
        self._numbers = count()

    def new(self) -> str:
        """Return a new name."""
        if self._pid != os.getpid():
            self._prefix, self._pid = uuid.uuid4().hex[:20], os.getpid()
        return f"{self._prefix}{next(self._numbers):x}"


ENTRIES = Entries()


def envelope_of(entry: Entry, now: float) -> Envelope:
    """Return the envelope of a job that is published now."""
    if len(entry.id) * 4 > LONGEST_ID and len(entry.id.encode()) > LONGEST_ID:
        message = f"on RabbitMQ a job's id has at most {LONGEST_ID} bytes"
        raise ValueError(message)
    return Envelope(
        entry.id,
        ENTRIES.new(),
        now,
        priority=entry.priority,
        keep=entry.keep,
        expires_at=None if entry.ttl is None else now + entry.ttl,
        due_at=now + entry.delay if entry.delay > 0 else None,
        sent_at=now,
    )


def read(message: Message, now: float) -> Envelope:
    """Return the envelope of a message; a foreign one is given what it lacks."""
    properties: Any = message.properties
    headers: dict[str, Any] = properties.headers or {}
    text = headers.get(HEADER)
    if isinstance(text, str) and properties.message_id:
        try:
            values = from_json(text)
            if len(values) == len(_SHORT) and tuple(map(type, values)) == _SHORT:
                entry, published_at = values
                return Envelope(properties.message_id, entry, published_at, *_PLAIN, published_at)
            envelope = Envelope(properties.message_id, *values)
        except (TypeError, ValueError):
            pass  # not ours, though it says so: a foreign message
        else:
            if tuple(map(type, envelope)) in _SHAPES:
                return envelope
    return Envelope(
        properties.message_id or str(uuid.uuid4()),
        ENTRIES.new(),
        _published_at(properties.timestamp, now),
        priority=properties.priority or 0,
        sent_at=now,
    )


def _published_at(timestamp: object, now: float) -> float:
    """Return when a foreign message says that it was published, if it says so."""
    # AMQP's is in seconds; what lies ahead or is of another unit says nothing
    return float(timestamp) if isinstance(timestamp, int) and 0 < timestamp <= now else now


def text_of(body: bytes) -> str:
    """Return a body as text; bytes that are none are written as escapes, and so not lost."""
    return body.decode("utf-8", "backslashreplace")


def bury(body: str, failure: Failure, died_at: float) -> str:
    """Return the body of a dead letter: the job's own with why and when it died."""
    return json.dumps({"body": body, "failure": failure, "died_at": died_at})


def exhume(body: bytes) -> tuple[str, Failure, float]:
    """Return the job's body, why it died, and when; anybody can put messages there."""
    try:
        letter = json.loads(body)
        text, failure, died_at = letter["body"], Failure(*letter["failure"]), letter["died_at"]
    except (ValueError, TypeError, KeyError):
        pass
    else:
        sound = all(isinstance(each, str) for each in (text, *failure[:3]))
        if sound and type(died_at) in _NUMBER:
            return text, failure, died_at
    reason = "this message was put to the dead letters by somebody else"
    return text_of(body), Failure("rejected", "Unknown", reason), 0.0
