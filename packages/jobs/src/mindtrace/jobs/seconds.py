"""Checking a number of seconds, wherever a user can say one."""

from __future__ import annotations

LONGEST = 100 * 365 * 24 * 3600.0
"""A hundred years: more is a mistake, and more than timers take."""


def checked_seconds(name: str, value: object, *, above: bool = True) -> float | None:
    """Return a number of seconds (or None), or raise ValueError for what is none."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        allowed = value > 0 if above else value >= 0
        if allowed and value <= LONGEST:
            return value
    kind = "seconds above 0" if above else "seconds that are not negative"
    message = f"{name} takes {kind}, not {value!r}"
    raise ValueError(message)
