"""When a failed job runs again: pure policy, as tables."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindtrace.jobs import JobTimeoutError, Reject, Retry, RetryPolicy
from mindtrace.jobs.backend import QueueOptions
from mindtrace.jobs.retry import Verdict, decide


class OurError(Exception):
    """An error of a user."""


class OurSubError(OurError):
    """A kind of it."""


THREE = RetryPolicy(3, backoff=2.0, jitter=0.0)


def middle() -> float:
    """Draw what changes nothing."""
    return 0.5


@pytest.mark.parametrize(
    ("error", "attempt", "policy", "verdict"),
    [
        # one attempt is the default: nobody but the user knows whether a job may run twice
        (OurError(), 1, RetryPolicy(), Verdict("reject")),
        (OurError(), 1, THREE, Verdict("retry", 2.0)),
        (OurError(), 2, THREE, Verdict("retry", 4.0)),
        (OurError(), 3, THREE, Verdict("reject")),
        (OurError(), 9, THREE, Verdict("reject")),
        # a rejection is final
        (Reject("no"), 1, THREE, Verdict("reject", reason="rejected")),
        (Reject("no"), 1, RetryPolicy(), Verdict("reject", reason="rejected")),
        # a wish to retry overrides the limit, with its own pause or the policy's
        (Retry(), 1, RetryPolicy(jitter=0), Verdict("retry", 1.0)),
        (Retry(), 4, RetryPolicy(jitter=0), Verdict("retry", 8.0)),
        (Retry(after=0), 99, RetryPolicy(), Verdict("retry", 0)),
        (Retry(after=7.5), 99, THREE, Verdict("retry", 7.5)),
        # only the errors named are worth another attempt
        (OurError(), 1, RetryPolicy(3, jitter=0, on=(OurError,)), Verdict("retry", 1.0)),
        (OurSubError(), 1, RetryPolicy(3, jitter=0, on=(OurError,)), Verdict("retry", 1.0)),
        (OurError(), 1, RetryPolicy(3, on=(OurSubError,)), Verdict("reject")),
        (OurError(), 1, RetryPolicy(3, on=()), Verdict("reject")),
        (ValueError(), 1, RetryPolicy(3, on=(OurError, KeyError)), Verdict("reject")),
        (KeyError(), 1, RetryPolicy(3, jitter=0, on=("LookupError",)), Verdict("retry", 1.0)),
        (KeyError(), 1, RetryPolicy(3, jitter=0, on=("builtins.KeyError",)), Verdict("retry", 1)),
        (KeyError(), 1, RetryPolicy(3, on=("keyerror",)), Verdict("reject")),
        (JobTimeoutError("j", 1), 1, THREE, Verdict("retry", 2.0)),
        # what is no Exception is not covered by the default
        (SystemExit(), 1, THREE, Verdict("reject")),
        (asyncio.CancelledError(), 1, THREE, Verdict("reject")),
        (SystemExit(), 1, RetryPolicy(3, jitter=0, on=(SystemExit,)), Verdict("retry", 1.0)),
    ],
)
def test_decide(error: BaseException, attempt: int, policy: RetryPolicy, verdict: Verdict) -> None:
    assert decide(error, attempt, policy, middle) == verdict


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        (RetryPolicy(jitter=0), [1, 2, 4, 8, 16]),
        (RetryPolicy(backoff=0.5, factor=3, jitter=0), [0.5, 1.5, 4.5]),
        (RetryPolicy(backoff=10, factor=1, jitter=0), [10, 10, 10]),
        (RetryPolicy(backoff=0, jitter=0), [0, 0]),
        (RetryPolicy(backoff=100, max_backoff=250, jitter=0), [100, 200, 250, 250]),
        (RetryPolicy(backoff=(1, 5, 30), jitter=0), [1, 5, 30, 30, 30]),
        (RetryPolicy(backoff=(1, 500), max_backoff=60, jitter=0), [1, 60]),
    ],
)
def test_pauses(policy: RetryPolicy, pauses: list[float]) -> None:
    assert [policy.pause(each + 1) for each in range(len(pauses))] == pauses


@pytest.mark.parametrize(("drawn", "pause"), [(0.0, 8.0), (0.5, 10.0), (1.0, 12.0)])
def test_jitter_spreads_a_pause_to_both_sides(drawn: float, pause: float) -> None:
    policy = RetryPolicy(backoff=10, jitter=0.2)

    assert policy.pause(1, lambda: drawn) == pytest.approx(pause)


@given(
    attempt=st.integers(1, 10_000),
    backoff=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    jitter=st.floats(0, 1),
    drawn=st.floats(0, 1),
)
def test_a_pause_never_overflows_and_never_exceeds_its_bounds(
    attempt: int, backoff: float, factor: float, jitter: float, drawn: float
) -> None:
    policy = RetryPolicy(9, backoff=backoff, factor=factor, jitter=jitter, max_backoff=300)

    assert 0 <= policy.pause(attempt, lambda: drawn) <= 300 * (1 + jitter) + 1e-6


@pytest.mark.parametrize(
    "facts",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"backoff": -1},
        {"backoff": float("nan")},
        {"backoff": ()},
        {"backoff": (1, -2)},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"max_backoff": -1},
    ],
)
def test_numbers_that_mean_nothing_are_refused(facts: dict[str, Any]) -> None:
    (name,) = facts

    with pytest.raises(ValueError, match=name):
        RetryPolicy(**facts)


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_wish_to_retry_at_no_time_is_refused(after: float) -> None:
    with pytest.raises(ValueError, match="after"):
        Retry(after=after)


def test_lists_become_tuples_and_a_single_error_a_tuple_of_one() -> None:
    policy = RetryPolicy(2, backoff=[1, 2], on=OurError)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    assert policy.backoff == (1, 2)
    assert policy.on == (OurError,)
    assert RetryPolicy(on="KeyError").on == ("KeyError",)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert RetryPolicy(on=["KeyError", OurError]).on == ("KeyError", OurError)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert hash(policy) == hash(RetryPolicy(2, backoff=(1, 2), on=(OurError,)))


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        THREE,
        RetryPolicy(5, backoff=(1.0, 2.0), factor=3, max_backoff=9, jitter=1, on=("a.B", "C")),
    ],
)
def test_a_policy_survives_json(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_classes_travel_by_name_and_still_match() -> None:
    policy = RetryPolicy(3, jitter=0, on=(OurError, KeyError))

    again = RetryPolicy.from_json(json.loads(json.dumps(policy.to_json())))

    assert again.covers(OurSubError())
    assert again.covers(KeyError())
    assert not again.covers(ValueError())


def test_names_of_a_later_release_are_passed_over() -> None:
    policy = RetryPolicy.from_json({"max_attempts": 2, "later": 1})
    options = QueueOptions.from_json({"retry": {"max_attempts": 2, "later": 1}, "later": 2})

    assert policy == RetryPolicy(2)
    assert options == QueueOptions(retry=RetryPolicy(2))


def test_queue_options_survive_json() -> None:
    options = QueueOptions(max_deliveries=2, retry=THREE, timeout=5, dead_letter_ttl=60)

    assert QueueOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert QueueOptions.from_json(QueueOptions().to_json()) == QueueOptions()


def test_a_wish_has_a_reason() -> None:
    assert str(Retry(reason="locked")) == "locked"
    assert Reject("broken").reason == str(Reject("broken")) == "broken"
    assert Retry().after is None
    assert str(Reject())
