"""Reading pushed messages from the bytes of the socket, several times faster than pika does.

pika makes an object of each of the three frames of a message, and copies the rest of its buffer
after each. Here only small messages are read, those that are whole in the buffer; everything else
is left to pika. The layout is that of AMQP 0-9-1, sections 2.3.5 and 4.2.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from pika.spec import BasicProperties

from mindtrace.jobs_rabbitmq.message import HEADER

METHOD, HEADERS, BODY = 1, 2, 3
DELIVER = Struct(">HH").pack(60, 60)
LARGE = 64 * 1024
"""Bytes of a body from which on a message is left to pika."""

HEAD = Struct(">BHI")
_ID = Struct(">I")
_TAG = Struct(">QB")
_CONTENT = Struct(">HHQH")

_HAS_HEADERS, _HAS_MODE, _HAS_PRIORITY, _HAS_EXPIRATION, _HAS_ID = (
    1 << 13,
    1 << 12,
    1 << 11,
    1 << 8,
    1 << 7,
)
_OURS = _HAS_HEADERS | _HAS_MODE | _HAS_ID
_MAY_HAVE = _HAS_PRIORITY | _HAS_EXPIRATION
_KEY = bytes([len(HEADER)]) + HEADER.encode() + b"S"


class Properties(NamedTuple):
    """What matters of a message's properties; named as pika names them."""

    headers: dict[str, str]
    message_id: str
    priority: int | None = None
    timestamp: int | None = None


class Pushed(NamedTuple):
    """A message that was pushed, and where it ends in the buffer."""

    end: int
    channel: int
    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    properties: Properties | BasicProperties
    body: bytes


def pushed(buffer: bytes, at: int) -> Pushed | None:
    """Return the message whose method frame begins at `at`; None if it is not whole, or not small.

    The caller has found that frame to be whole, and to be a `basic.deliver`.
    """
    _, channel, size = HEAD.unpack_from(buffer, at)
    start, at = at + 11, at + 8 + size
    stop = start + 1 + buffer[start]
    consumer_tag = buffer[start + 1 : stop].decode()
    delivery_tag, redelivered = _TAG.unpack_from(buffer, stop)
    if len(buffer) < at + HEAD.size:
        return None
    kind, _, size = HEAD.unpack_from(buffer, at)
    if kind != HEADERS or len(buffer) < at + size + 8:
        return None
    _, _, length, flags = _CONTENT.unpack_from(buffer, at + 7)
    begin, at = at + 21, at + 8 + size
    properties = _properties(buffer, begin, at - 1, flags)
    if length == 0:
        body = b""
    else:
        if length > LARGE or len(buffer) < at + length + 8:
            return None
        kind, _, size = HEAD.unpack_from(buffer, at)
        if kind != BODY or size != length:
            return None
        body = buffer[at + 7 : at + 7 + length]
        at += 8 + length
    return Pushed(at, channel, consumer_tag, delivery_tag, bool(redelivered & 1), properties, body)


def _properties(buffer: bytes, at: int, end: int, flags: int) -> Properties | BasicProperties:
    """Read the properties, quickly if they are as we write them."""
    if flags & ~_MAY_HAVE == _OURS and buffer.startswith(_KEY, at + 4):
        (size,) = _ID.unpack_from(buffer, at)
        start = at + 4 + len(_KEY)
        (length,) = _ID.unpack_from(buffer, start)
        if size == len(_KEY) + 4 + length:
            header = buffer[start + 4 : start + 4 + length].decode()
            at = start + 5 + length  # behind the delivery mode
            priority = None
            if flags & _HAS_PRIORITY:
                priority, at = buffer[at], at + 1
            if flags & _HAS_EXPIRATION:
                at += 1 + buffer[at]
            message_id = buffer[at + 1 : at + 1 + buffer[at]].decode()
            return Properties({HEADER: header}, message_id, priority)
    found = BasicProperties()
    # pika reads the flags, which stand before the properties, by itself
    found.decode(buffer[at - 2 : end])
    return found
