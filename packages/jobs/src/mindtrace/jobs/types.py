"""`BackendType`: the backends by name."""

from __future__ import annotations

from enum import StrEnum


class BackendType(StrEnum):
    """The backends that are ours."""

    LOCAL = "local"
    REDIS = "redis"
    RABBITMQ = "rabbitmq"
