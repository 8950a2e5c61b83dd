"""Errors carry facts, tell what was asked, found and to be done, and keep their older bases."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from mindtrace.core import MindtraceError
from mindtrace.jobs import (
    BackendUnavailableError,
    DuplicateJobError,
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobsError,
    JobTimeoutError,
    JobValidationError,
    PayloadTooLargeError,
    QueueError,
    QueueNotFoundError,
    QueueTypeMismatchError,
    SchemaNotFoundError,
    StaleDeliveryError,
    UnsupportedByBackendError,
)

EXAMPLES: list[tuple[JobsError, tuple[type, ...], dict[str, Any], list[str]]] = [
    (
        QueueNotFoundError("b", ["c", "a"]),
        (QueueError, KeyError, ValueError),
        {"name": "b", "known": ["a", "c"]},
        ["'b'", "'a', 'c'", "declare_queue('b')"],
    ),
    (
        QueueTypeMismatchError("q", "fifo", "stack"),
        (QueueError, ValueError),
        {"name": "q", "declared": "fifo", "requested": "stack"},
        ["'q'", "fifo", "stack"],
    ),
    (
        UnsupportedByBackendError("stacks", "rabbitmq", "Use Redis."),
        (QueueError, NotImplementedError),
        {"what": "stacks", "backend": "rabbitmq", "instead": "Use Redis."},
        ["stacks", "rabbitmq", "Use Redis."],
    ),
    (
        SchemaNotFoundError("s", ["t"]),
        (ValueError,),
        {"name": "s", "known": ["t"]},
        ["Schema 's' not found", "'t'", "register"],
    ),
    (
        JobValidationError("s", ["a: wrong", "b: missing"]),
        (ValueError,),
        {"schema": "s", "problems": ["a: wrong", "b: missing"], "part": "payload"},
        ["payload", "'s'", "a: wrong; b: missing"],
    ),
    (
        PayloadTooLargeError(2000, 1000),
        (ValueError,),
        {"size": 2000, "limit": 1000},
        ["2,000", "1,000", "max_payload"],
    ),
    (
        DuplicateJobError("j", "q", "leased"),
        (ValueError,),
        {"job_id": "j", "queue": "q", "state": "leased"},
        ["'j'", "'q'", "leased", "another id"],
    ),
    (JobNotFoundError("j"), (LookupError,), {"job_id": "j"}, ["'j'", "keep_result"]),
    (
        JobFailedError("j", "KeyError", "'x'", "Traceback: ..."),
        (),
        {
            "job_id": "j",
            "error_type": "KeyError",
            "error_message": "'x'",
            "remote_traceback": "Traceback: ...",
        },
        ["'j'", "KeyError: 'x'", "Traceback: ..."],
    ),
    (
        JobCancelledError("j", "expired"),
        (),
        {"job_id": "j", "reason": "expired"},
        ["'j'", "expired"],
    ),
    (
        JobTimeoutError("j", 1.5),
        (TimeoutError,),
        {"job_id": "j", "seconds": 1.5},
        ["'j'", "1.5 s"],
    ),
    (
        StaleDeliveryError("j", 3),
        (),
        {"job_id": "j", "delivery": 3},
        ["Delivery 3", "'j'"],
    ),
    (
        BackendUnavailableError("redis", "host:6379", "it is away", transient=False),
        (ConnectionError,),
        {"backend": "redis", "address": "host:6379", "reason": "it is away", "transient": False},
        ["redis", "host:6379", "it is away"],
    ),
]
errors = pytest.mark.parametrize(
    ("error", "bases", "facts", "words"),
    EXAMPLES,
    ids=[type(each[0]).__name__ for each in EXAMPLES],
)


@errors
def test_an_error_is_ours_and_of_its_older_bases(
    error: JobsError, bases: tuple[type, ...], facts: dict[str, Any], words: list[str]
) -> None:
    for base in (MindtraceError, JobsError, *bases):
        with pytest.raises(base):  # type: ignore[type-var]
            raise error


@errors
def test_an_error_carries_its_facts(
    error: JobsError, bases: tuple[type, ...], facts: dict[str, Any], words: list[str]
) -> None:
    assert {name: getattr(error, name) for name in facts} == facts


@errors
def test_an_error_is_one_readable_text(
    error: JobsError, bases: tuple[type, ...], facts: dict[str, Any], words: list[str]
) -> None:
    text = str(error)

    assert all(word in text for word in words)
    assert text[0].isupper()
    assert not text.startswith(("'", '"', "("))
    assert "!" not in text


def pickled(error: JobsError) -> Any:
    return pickle.loads(pickle.dumps(error))


@errors
@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_an_error_survives_pickling_and_copying(
    error: JobsError,
    bases: tuple[type, ...],
    facts: dict[str, Any],
    words: list[str],
    again: Any,
) -> None:
    twin = again(error)

    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


def test_of_many_queues_twenty_are_named() -> None:
    error = QueueNotFoundError("x", [f"q{each:02}" for each in range(25)])

    assert "'q19' and 5 more" in str(error)
    assert "'q20'" not in str(error)


def test_where_there_is_none_it_says_so() -> None:
    assert "known queues: none" in str(QueueNotFoundError("x"))
    assert "registered here: none" in str(SchemaNotFoundError("x"))


def test_the_advice_for_a_dead_duplicate_is_another() -> None:
    assert "requeue or discard" in str(DuplicateJobError("j", "q", "dead"))


def test_without_a_traceback_none_is_announced() -> None:
    assert "traceback" not in str(JobFailedError("j", "KeyError", "x"))


def test_an_unavailable_backend_may_come_back_unless_said_otherwise() -> None:
    assert BackendUnavailableError("redis", "host", "it is away").transient is True
