"""A job goes into a message and comes out as it was; what others write does no harm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties

from mindtrace.jobs.backend import Failure
from mindtrace.jobs.testing.harness import entry
from mindtrace.jobs_rabbitmq.deliveries import Properties
from mindtrace.jobs_rabbitmq.message import (
    HEADER,
    Entries,
    Envelope,
    Message,
    bury,
    envelope_of,
    exhume,
    read,
    text_of,
)

if TYPE_CHECKING:
    from mindtrace.jobs.backend import Entry

NOW = 1_700_000_000.5
TIMES = st.floats(0, 4e9)
COUNTS = st.integers(0, 10**6)
ENVELOPES = st.builds(
    Envelope,
    id=st.text(min_size=1, max_size=40),
    entry=st.from_regex(r"[0-9a-f]{1,24}", fullmatch=True),
    published_at=TIMES,
    delivery=COUNTS,
    attempts=COUNTS,
    lost=COUNTS,
    priority=st.integers(-5, 255),
    keep=st.none() | TIMES,
    expires_at=st.none() | TIMES,
    due_at=st.none() | TIMES,
    sent_at=TIMES,
)


def received(properties: BasicProperties | Properties, body: bytes = b"{}") -> Message:
    return Message(1, False, "q", properties, body)


def message_of(envelope: Envelope) -> Message:
    return received(BasicProperties(headers={HEADER: envelope.header()}, message_id=envelope.id))


@given(ENVELOPES)
def test_an_envelope_comes_out_as_it_went_in(envelope: Envelope) -> None:
    assert read(message_of(envelope), NOW) == envelope
    ours = received(Properties({HEADER: envelope.header()}, envelope.id))
    assert read(ours, NOW) == envelope


@pytest.mark.parametrize(
    "facts", [entry("1"), entry("1", ttl=9.0), entry("1", delay=3.0, priority=7, keep=60.0)]
)
def test_a_job_that_is_published_keeps_its_facts(facts: Entry) -> None:
    envelope = envelope_of(facts, NOW)

    again = read(message_of(envelope), NOW + 50)

    assert again == envelope
    assert (again.id, again.priority, again.keep) == ("1", facts.priority, facts.keep)
    assert again.published_at == again.sent_at == NOW
    assert again.due_at == (NOW + facts.delay if facts.delay else None)
    assert again.expires_at == (None if facts.ttl is None else NOW + facts.ttl)


def test_an_id_that_amqp_cannot_hold_is_refused() -> None:
    assert envelope_of(entry("é" * 127), NOW).id == "é" * 127
    with pytest.raises(ValueError, match="at most 255 bytes"):
        envelope_of(entry("é" * 128), NOW)


def test_entries_are_never_the_same() -> None:
    entries, others = Entries(), Entries()

    names = [each.new() for each in (entries, others) for _ in range(1000)]

    assert len(set(names)) == 2000


# messages of others


def test_a_foreign_message_gets_what_it_lacks() -> None:
    found = read(received(BasicProperties()), NOW)

    assert found.id
    assert found.entry
    assert (found.published_at, found.sent_at) == (NOW, NOW)
    assert (found.delivery, found.attempts, found.lost, found.priority) == (0, 0, 0, 0)
    assert read(received(BasicProperties()), NOW).entry != found.entry


def test_what_a_foreign_message_says_of_itself_is_taken() -> None:
    said = BasicProperties(message_id="mine", priority=3, timestamp=1_600_000_000)

    found = read(received(said), NOW)

    assert (found.id, found.priority, found.published_at) == ("mine", 3, 1_600_000_000.0)


@pytest.mark.parametrize("timestamp", [0, int(NOW) + 5, int(NOW * 1000), 2**63])
def test_a_timestamp_that_means_nothing_is_left_out(timestamp: int) -> None:
    assert read(received(BasicProperties(timestamp=timestamp)), NOW).published_at == NOW


GOOD = ["entry", NOW, 1, 2, 3, 4, None, None, None, NOW]
BAD: dict[int, list[Any]] = {
    0: [7, None],
    1: ["x", None],
    2: ["1", None, 1.5, True],
    3: ["1"],
    4: [None],
    5: [[]],
    6: ["x"],
    7: ["x"],
    8: [{}],
    9: [None, "x"],
}
"""What may not stand at each place of it."""
WRONG: list[Any] = [
    b"\xff",
    5,
    None,
    {"a": 1},
    "",
    "nonsense",
    "{}",
    '{"a": 1, "b": 2}',
    "[]",
    '["entry"]',
    "5",
    *(
        json.dumps([*GOOD[:place], bad, *GOOD[place + 1 :]])
        for place, bads in BAD.items()
        for bad in bads
    ),
    json.dumps([*GOOD, 1]),
]


@pytest.mark.parametrize("header", WRONG, ids=repr)
def test_a_header_that_is_not_ours_makes_a_message_foreign(header: Any) -> None:
    found = read(received(BasicProperties(headers={HEADER: header}, message_id="mine")), NOW)

    assert found.id == "mine"
    assert found.entry not in (7, "entry")
    assert found == (
        "mine", found.entry, NOW, 0, 0, 0, 0, None, None, None, NOW,
    )  # fmt: skip


def test_a_header_without_an_id_is_not_ours() -> None:
    found = read(received(BasicProperties(headers={HEADER: json.dumps(GOOD)})), NOW)

    assert found.entry != "entry"


def test_the_good_header_is_ours() -> None:
    found = read(received(BasicProperties(headers={HEADER: json.dumps(GOOD)}, message_id="1")), NOW)

    assert found == ("1", *GOOD)


def test_bytes_that_are_no_text_are_kept_as_escapes() -> None:
    assert text_of(b"a\xff\x00") == "a\\xff\x00"
    assert text_of("日".encode()) == "日"


# dead letters


@given(
    st.text(),
    st.builds(
        Failure,
        st.sampled_from(["failed", "rejected", "invalid", "poison"]),
        st.text(),
        st.text(),
        st.text(),
    ),
    TIMES,
)
def test_a_dead_letter_comes_out_as_it_went_in(body: str, failure: Failure, when: float) -> None:
    assert exhume(bury(body, failure, when).encode()) == (body, failure, when)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"nonsense",
        b"[]",
        b"{}",
        b"5",
        b'{"body": "x", "failure": [], "died_at": 1}',
        b'{"body": 5, "failure": ["failed", "E", "m"], "died_at": 1}',
        b'{"body": "x", "failure": ["failed", 5, "m"], "died_at": 1}',
        b'{"body": "x", "failure": ["failed", "E", "m", ""], "died_at": "now"}',
        b'{"body": "x", "failure": 5, "died_at": 1}',
    ],
)
def test_what_others_put_to_the_dead_letters_is_kept_as_it_is(body: bytes) -> None:
    text, failure, died_at = exhume(body)

    assert text == text_of(body)
    assert (failure.reason, died_at) == ("rejected", 0.0)
    assert "somebody else" in failure.message
