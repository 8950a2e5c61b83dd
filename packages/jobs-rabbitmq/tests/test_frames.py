"""The bytes that we write ourselves are those that pika writes, and reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, frame, spec

from mindtrace.jobs_rabbitmq.deliveries import LARGE, pushed
from mindtrace.jobs_rabbitmq.frames import Posting, acks, encode
from mindtrace.jobs_rabbitmq.message import HEADER

FRAME_MAX = 4096
ROOM = FRAME_MAX - 8
TEXT = st.text(max_size=60)
BODIES = st.one_of(
    st.binary(max_size=100),
    st.sampled_from([0, 1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 3 * ROOM + 5]).map(bytes),
)
POSTINGS = st.builds(
    Posting,
    queue=TEXT,
    id=TEXT,
    header=st.text(max_size=300),
    body=BODIES,
    priority=st.none() | st.integers(0, 255),
    expiration=st.none() | st.integers(0, 10**14),
)


def decoded(buffer: bytes) -> list[frame.Frame]:
    """Read frames as pika does; all bytes must belong to one."""
    found: list[frame.Frame] = []
    while buffer:
        consumed, value = frame.decode_frame(buffer)
        assert isinstance(value, frame.Frame)
        assert consumed
        found.append(value)
        buffer = buffer[consumed:]
    return found


@given(POSTINGS, st.integers(1, 65535))
def test_pika_reads_what_we_write(posting: Posting, channel: int) -> None:
    first, header, *bodies = decoded(encode(posting, channel, FRAME_MAX))

    method = vars(first)["method"]
    assert isinstance(method, spec.Basic.Publish)
    assert (method.exchange, method.routing_key) == ("", posting.queue)
    assert (method.mandatory, method.immediate) == (True, False)
    assert isinstance(header, frame.Header)
    assert header.body_size == len(posting.body)
    properties = header.properties
    assert properties.headers == {HEADER: posting.header}
    assert properties.delivery_mode == 2
    assert properties.message_id == posting.id
    assert properties.priority == posting.priority
    wanted = None if posting.expiration is None else str(posting.expiration)
    assert properties.expiration == wanted
    pieces: list[bytes] = [vars(each)["fragment"] for each in bodies]
    assert b"".join(pieces) == posting.body
    assert len(pieces) == len(bodies) == -(-len(posting.body) // ROOM)
    assert {each.channel_number for each in [first, header, *bodies]} == {channel}


@given(POSTINGS)
def test_we_write_what_pika_writes(posting: Posting) -> None:
    method = spec.Basic.Publish(exchange="", routing_key=posting.queue, mandatory=True)
    properties = BasicProperties(
        headers={HEADER: posting.header},
        delivery_mode=2,
        priority=posting.priority,
        expiration=None if posting.expiration is None else str(posting.expiration),
        message_id=posting.id,
    )
    theirs = frame.Method(3, method).marshal()
    theirs += frame.Header(3, len(posting.body), properties).marshal()
    for at in range(0, len(posting.body), ROOM):
        theirs += frame.Body(3, posting.body[at : at + ROOM]).marshal()

    assert encode(posting, 3, FRAME_MAX) == theirs


def test_no_frame_is_longer_than_agreed() -> None:
    buffer = encode(Posting("q", "1", "[]", bytes(10 * ROOM)), 1, FRAME_MAX)

    while buffer:
        consumed, _ = frame.decode_frame(buffer)
        assert consumed <= FRAME_MAX
        buffer = buffer[consumed:]


# acknowledgements


@given(st.sets(st.integers(1, 40)), st.data())
def test_exactly_what_is_meant_is_acknowledged(unsettled: set[int], data: st.DataObject) -> None:
    tags = data.draw(st.sets(st.sampled_from(sorted(unsettled)))) if unsettled else set[int]()

    left = set(unsettled)
    for each in decoded(acks(list(tags), sorted(unsettled), 9)):
        method = vars(each)["method"]
        assert isinstance(method, spec.Basic.Ack)
        assert each.channel_number == 9
        tag = method.delivery_tag
        gone = {one for one in left if one <= tag} if method.multiple else {tag}
        assert gone
        assert gone <= left
        left -= gone

    assert left == unsettled - tags


def test_all_at_once_are_acknowledged_with_one_frame() -> None:
    assert len(decoded(acks([3, 1, 2], [1, 2, 3, 4], 1))) == 1
    assert acks([], [1, 2], 1) == b""


# the way back: what the broker pushes

PROPERTIES = st.one_of(
    st.builds(
        BasicProperties,
        headers=st.text(max_size=200).map(lambda text: {HEADER: text}),
        delivery_mode=st.just(2),
        message_id=TEXT,
        priority=st.none() | st.integers(0, 255),
        expiration=st.none() | st.just("5000"),
    ),
    st.builds(
        BasicProperties,
        content_type=st.none() | st.just("application/json"),
        headers=st.none()
        | st.dictionaries(st.sampled_from([HEADER, "a"]), st.integers(0, 9) | st.text(max_size=9)),
        delivery_mode=st.none() | st.sampled_from([1, 2]),
        priority=st.none() | st.integers(0, 255),
        correlation_id=st.none() | TEXT,
        message_id=st.none() | TEXT,
        timestamp=st.none() | st.integers(0, 2**40),
        app_id=st.none() | TEXT,
    ),
)


def delivery(properties: BasicProperties, body: bytes, *, redelivered: bool = False) -> bytes:
    """Return the bytes of a message as the broker pushes it."""
    method = spec.Basic.Deliver("tag-1", 77, redelivered, "", "q")
    parts = frame.Method(5, method).marshal() + frame.Header(5, len(body), properties).marshal()
    return parts + (frame.Body(5, body).marshal() if body else b"")


@given(PROPERTIES, st.binary(max_size=200), st.booleans(), st.binary(max_size=30))
def test_a_pushed_message_is_read_as_pika_reads_it(
    properties: BasicProperties, body: bytes, redelivered: bool, behind: bytes
) -> None:
    message = delivery(properties, body, redelivered=redelivered)

    found = pushed(b"before" + message + behind, len(b"before"))

    assert found is not None
    assert found.end == len(b"before") + len(message)
    assert (found.channel, found.consumer_tag, found.delivery_tag) == (5, "tag-1", 77)
    assert found.redelivered is redelivered
    assert found.body == body
    for name in ("headers", "message_id", "priority", "timestamp"):
        assert getattr(found.properties, name) == getattr(properties, name)


@given(PROPERTIES, st.binary(max_size=60), st.data())
def test_a_message_that_is_not_whole_is_left_for_later(
    properties: BasicProperties, body: bytes, data: st.DataObject
) -> None:
    message = delivery(properties, body)
    method = frame.decode_frame(message)[0]
    assert method
    cut = data.draw(st.integers(method, len(message) - 1))

    assert pushed(message[:cut], 0) is None


@pytest.mark.parametrize("size", [LARGE, LARGE + 1])
def test_a_large_message_is_left_to_pika(size: int) -> None:
    found = pushed(delivery(BasicProperties(message_id="1"), bytes(size)), 0)

    assert (found is None) == (size > LARGE)


def test_a_message_in_several_frames_is_left_to_pika() -> None:
    message = delivery(BasicProperties(message_id="1"), b"")
    method, header = frame.decode_frame(message)
    assert method
    del header
    head = frame.Header(5, 10, BasicProperties(message_id="1")).marshal()
    bodies = frame.Body(5, b"12345").marshal() * 2

    assert pushed(message[:method] + head + bodies, 0) is None
