"""Secrets on their way to a service: Pydantic writes asterisks for them, which nobody can use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import Secret, SecretBytes, SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK = b"**********"
"""What is in the JSON of a model that holds secrets; it may be in that of others, too."""


def revealed(shown: Any, real: Any) -> Any:
    """Return a model as JSON values, with its secrets in clear.

    Args:
        shown: The model as JSON values.
        real: The same as Python values.
    """
    if isinstance(real, (SecretStr, SecretBytes, Secret)):
        secret: Any = cast("Secret[Any]", real).get_secret_value()
        return secret.decode() if isinstance(secret, bytes) else secret
    if isinstance(shown, dict) and isinstance(real, dict):
        pairs = cast("Mapping[str, Any]", shown).items()
        values = cast("Mapping[Any, Any]", real).values()
        return {
            key: revealed(value, other) for (key, value), other in zip(pairs, values, strict=True)
        }
    if isinstance(shown, list) and isinstance(real, (list, tuple, set, frozenset)):
        both = zip(cast("Iterable[Any]", shown), cast("Iterable[Any]", real), strict=True)
        return [revealed(value, other) for value, other in both]
    return cast("Any", shown)
