"""What is told to a gateway about apps, and what it tells."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, Field

from mindtrace.core.task import TaskSchema

SILENCE = 300.0
"""Seconds that an app may be silent unless its registration says otherwise."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,62}", re.ASCII)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        message = (
            "the name of an app is one word of a path: at most 63 letters, digits and . _ ~ -, "
            "a letter or digit first"
        )
        raise ValueError(message)
    return name


def _checked_url(url: str) -> str:
    """Return the URL as it is kept, or raise `ValueError`."""
    found = AnyHttpUrl(url)
    if found.username or found.password:
        message = "a URL with a user or password in it is shown to whoever asks; leave them out"
        raise ValueError(message)
    if found.query is not None or found.fragment is not None:
        message = "expected a scheme, a host, a port and the beginning of a path only"
        raise ValueError(message)
    return str(found)


AppName = Annotated[str, AfterValidator(_checked_name)]
"""The name of an app: the first word of the paths that are forwarded to it."""


class AppConfig(BaseModel):
    """An app that is to stand behind a gateway.

    Attributes:
        name: `/name/...` is forwarded to it.
        url: Where it is, `http` or `https`. What its path begins with is kept: with
            `http://host/v1`, `/name/items` becomes `/v1/items`.
        forward_auth: Whether it is told the caller's `Authorization`. Without it, no token of a
            caller leaves the gateway.
        timeout: Seconds that it may be silent.
    """

    name: AppName
    url: Annotated[str, AfterValidator(_checked_url)]
    forward_auth: bool = False
    timeout: float = Field(default=SILENCE, gt=0, le=24 * 3600)


class AppReference(BaseModel):
    """An app that stands behind a gateway."""

    name: str


class RegisteredApps(BaseModel):
    """The names of all apps of a gateway, sorted."""

    registered_apps: list[str]


RegisterAppTaskSchema = TaskSchema(name="register_app", input_schema=AppConfig)
UnregisterAppTaskSchema = TaskSchema(name="unregister_app", input_schema=AppReference)
RegisteredAppsTaskSchema = TaskSchema(name="registered_apps", output_schema=RegisteredApps)
