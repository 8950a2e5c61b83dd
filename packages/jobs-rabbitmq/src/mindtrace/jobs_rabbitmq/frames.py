"""The bytes of a persistent, mandatory publish to a queue, and of acknowledgements.

pika builds three frame objects for each message, which costs several times what the rest of a
publish does. The layout is that of AMQP 0-9-1, sections 2.3.5 and 4.2.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from pika import frame, spec
from pika.spec import FRAME_END_SIZE, FRAME_HEADER_SIZE

from mindtrace.jobs_rabbitmq.message import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

METHOD, HEADERS, BODY = 1, 2, 3
END = b"\xce"
BASIC, PUBLISH = 60, 40
MANDATORY = 1
PERSISTENT = b"\x02"

# which properties there are: one bit each, in the order in which they are written
_HEADERS, _DELIVERY_MODE, _PRIORITY, _EXPIRATION, _MESSAGE_ID = (
    1 << 13,
    1 << 12,
    1 << 11,
    1 << 8,
    1 << 7,
)

_FRAME = Struct(">BHI")
_PUBLISH = Struct(">HHH")
_CONTENT = Struct(">HHQH")
_LONG = Struct(">I")

_KEY = bytes([len(HEADER)]) + HEADER.encode() + b"S"


class Posting(NamedTuple):
    """One message on its way to one queue of the broker."""

    queue: str
    id: str
    header: str
    body: bytes
    priority: int | None = None
    """The broker's own priority; None where the queue has none."""
    expiration: int | None = None
    """Milliseconds after which the broker drops it at the head of its queue."""


def encode(posting: Posting, channel: int, frame_max: int) -> bytes:
    """Return the frames of one publish."""
    return _method(channel, posting.queue) + _content(channel, posting, frame_max)


def _short(text: str) -> bytes:
    raw = text.encode()
    return bytes([len(raw)]) + raw


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + END


def _method(channel: int, queue: str) -> bytes:
    arguments = _PUBLISH.pack(BASIC, PUBLISH, 0) + b"\x00" + _short(queue) + bytes([MANDATORY])
    return _frame(METHOD, channel, arguments)


def _content(channel: int, posting: Posting, frame_max: int) -> bytes:
    flags = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
    header = posting.header.encode()
    table = _KEY + _LONG.pack(len(header)) + header
    properties = _LONG.pack(len(table)) + table + PERSISTENT
    if posting.priority is not None:
        flags |= _PRIORITY
        properties += bytes([posting.priority])
    if posting.expiration is not None:
        flags |= _EXPIRATION
        properties += _short(str(posting.expiration))
    properties += _short(posting.id)
    body = posting.body
    head = _frame(HEADERS, channel, _CONTENT.pack(BASIC, 0, len(body), flags) + properties)
    room = frame_max - FRAME_HEADER_SIZE - FRAME_END_SIZE
    if len(body) <= room:
        return head + (_frame(BODY, channel, body) if body else b"")
    parts = [body[at : at + room] for at in range(0, len(body), room)]
    return head + b"".join(_frame(BODY, channel, part) for part in parts)


def acks(tags: Sequence[int], unsettled: Sequence[int], channel: int) -> bytes:
    """Return the frames that acknowledge messages: one for all of the oldest unsettled ones."""
    chosen = set(tags)
    last = 0
    for tag in unsettled:
        if tag not in chosen:
            break
        last = tag
    rest = [_ack(tag, channel, multiple=False) for tag in sorted(chosen) if tag > last]
    return b"".join([_ack(last, channel, multiple=True), *rest] if last else rest)


def _ack(tag: int, channel: int, *, multiple: bool) -> bytes:
    return frame.Method(channel, spec.Basic.Ack(delivery_tag=tag, multiple=multiple)).marshal()
