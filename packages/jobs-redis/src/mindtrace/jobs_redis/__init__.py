"""Jobs on Redis: one server, Sentinel or Cluster.

Importing this package loads neither redis-py nor anything else of it before a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.jobs_redis.client import RedisClient, RedisConsumerBackend
    from mindtrace.jobs_redis.store import RedisStore

__version__ = "1.0.0"

__all__ = ["RedisClient", "RedisConsumerBackend", "RedisStore"]

_MODULE_OF_NAME = {
    "RedisClient": "client",
    "RedisConsumerBackend": "client",
    "RedisStore": "store",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF_NAME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
