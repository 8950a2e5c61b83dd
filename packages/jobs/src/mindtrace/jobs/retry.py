"""When a failed job runs again: policy only, no clock and no store.

`decide` turns what a handler raised into a verdict; the executor settles it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple


class Retry(Exception):  # noqa: N818 - a wish of the handler, not a failure of ours
    """Raised by a handler: run this job again after `after` seconds (the policy's pause when None).

    It counts as an attempt, and overrides the policy's limit: a handler that raises it for ever
    retries for ever.
    """

    def __init__(
        self, after: float | None = None, reason: str = "the handler asked to retry"
    ) -> None:
        if after is not None and not 0 <= after < float("inf"):
            message = f"Retry(after=...) takes seconds that are not negative, not {after!r}"
            raise ValueError(message)
        super().__init__(reason)
        self.after = after


class Reject(Exception):  # noqa: N818 - as above
    """Raised by a handler: this job can never succeed; it is dead at once, with `reason`."""

    def __init__(self, reason: str = "the handler rejected the job") -> None:
        super().__init__(reason)
        self.reason = str(reason)


ErrorNames = type[BaseException] | str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a job whose handler raises runs, and how long it rests in between.

    The default is one attempt: only the user knows whether a job may run twice.

    Attributes:
        max_attempts: how often the handler may fail in all; 1 means no retry.
        backoff: seconds before the second attempt, doubling (`factor`) up to `max_backoff`; or the
            pauses themselves, the last one repeated.
        factor: what each pause is multiplied by.
        max_backoff: the longest pause in seconds, before jitter.
        jitter: the share of the pause, 0 to 1, that is drawn at random: with 0.2 a pause of 10 s
            becomes 8 to 12 s, so that jobs which failed together do not come back together.
        on: the exceptions worth another attempt, as classes or dotted names; a subclass counts.
    """

    max_attempts: int = 1
    backoff: float | tuple[float, ...] = 1.0
    factor: float = 2.0
    max_backoff: float = 300.0
    jitter: float = 0.2
    on: tuple[ErrorNames, ...] = ("Exception",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if isinstance(self.backoff, Sequence):
            object.__setattr__(self, "backoff", tuple(self.backoff))
        if not isinstance(self.on, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
            names: Any = self.on
            single = isinstance(names, type | str)
            object.__setattr__(self, "on", (names,) if single else tuple(names))
        pauses = self.backoff if isinstance(self.backoff, tuple) else (self.backoff,)
        if self.max_attempts < 1:
            message = f"max_attempts is at least 1, not {self.max_attempts!r}"
            raise ValueError(message)
        if not pauses or any(not pause >= 0 for pause in pauses):
            message = f"backoff takes seconds that are not negative, not {self.backoff!r}"
            raise ValueError(message)
        if not 0 <= self.jitter <= 1 or not self.factor >= 1 or not self.max_backoff >= 0:
            message = "jitter is between 0 and 1, factor at least 1, max_backoff not negative"
            raise ValueError(message)

    def pause(self, attempt: int, draw: Callable[[], float] = random.random) -> float:
        """Return the seconds to rest after the given attempt failed (1 is the first)."""
        if isinstance(self.backoff, tuple):
            pause = self.backoff[min(attempt, len(self.backoff)) - 1]
        else:
            # the exponent is bounded, for a float overflows after about a thousand doublings
            pause = self.backoff * self.factor ** min(attempt - 1, 64)
        return min(pause, self.max_backoff) * (1 + self.jitter * (2 * draw() - 1))

    def covers(self, error: BaseException) -> bool:
        """Tell whether the error is one of those worth another attempt."""
        lineage = type(error).__mro__
        names = {name for each in lineage for name in _names(each)}
        return any(each in lineage if isinstance(each, type) else each in names for each in self.on)

    def to_json(self) -> dict[str, Any]:
        """Return the policy as plain JSON values; exception classes become dotted names."""
        return {
            "max_attempts": self.max_attempts,
            "backoff": list(self.backoff) if isinstance(self.backoff, tuple) else self.backoff,
            "factor": self.factor,
            "max_backoff": self.max_backoff,
            "jitter": self.jitter,
            "on": [_names(each)[0] if isinstance(each, type) else each for each in self.on],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RetryPolicy:
        """Return the policy that `to_json` wrote; names of a later release are passed over."""
        known = {field.name for field in fields(cls)} & values.keys()
        return cls(**{name: values[name] for name in known})


def check_retry(policy: object) -> None:
    """Raise ValueError unless it is None or a RetryPolicy."""
    if policy is not None and not isinstance(policy, RetryPolicy):
        message = f"retry takes a RetryPolicy, not {type(policy).__name__}"
        raise ValueError(message)


def _names(kind: type[BaseException] | type) -> tuple[str, ...]:
    dotted = f"{kind.__module__}.{kind.__qualname__}"
    return (
        (kind.__qualname__, dotted)
        if kind.__module__ == "builtins"
        else (dotted, kind.__qualname__)
    )


class Verdict(NamedTuple):
    """What becomes of a job whose handler raised."""

    action: Literal["retry", "reject"]
    delay: float = 0.0
    reason: Literal["failed", "rejected"] = "failed"


def decide(
    error: BaseException,
    attempt: int,
    policy: RetryPolicy,
    draw: Callable[[], float] = random.random,
) -> Verdict:
    """Say what becomes of a job whose `attempt`-th run (1 is the first) raised `error`."""
    if isinstance(error, Reject):
        return Verdict("reject", reason="rejected")
    if isinstance(error, Retry):
        delay = policy.pause(attempt, draw) if error.after is None else error.after
        return Verdict("retry", delay)
    if attempt < policy.max_attempts and policy.covers(error):
        return Verdict("retry", policy.pause(attempt, draw))
    return Verdict("reject")
