"""Secrets do not travel in jobs: a queue keeps what it is given, in clear text."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

_SECRETS = (SecretStr, SecretBytes, Secret)


def refuse_secrets(model: type[BaseModel]) -> None:
    """Raise ValueError if a field of the model is a secret.

    Pydantic writes a secret as asterisks, so a job would lose it without a word.
    """
    found = _secret_in(model, "", set())
    if found:
        message = (
            f"{model.__name__}.{found} is a secret, which a job cannot carry: a queue keeps what "
            "it is given in clear text. Pass the name of a setting that the consumer reads."
        )
        raise ValueError(message)


def _secret_in(kind: Any, path: str, seen: set[Any]) -> str | None:
    if isinstance(kind, type) and issubclass(kind, _SECRETS):
        return path
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        for name, field in kind.model_fields.items():
            if found := _secret_in(field.annotation, f"{path}.{name}".lstrip("."), seen):
                return found
    for part in get_args(kind):
        if found := _secret_in(part, path, seen):
            return found
    return None
