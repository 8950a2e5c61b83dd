"""Jobs on RabbitMQ, with a ledger beside it or without.

Importing this package loads neither pika nor anything else of it before a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.jobs_rabbitmq.client import RabbitMQClient, RabbitMQConsumerBackend
    from mindtrace.jobs_rabbitmq.ledger import LedgerStore
    from mindtrace.jobs_rabbitmq.store import RabbitMQStore

__version__ = "1.0.0"

__all__ = ["LedgerStore", "RabbitMQClient", "RabbitMQConsumerBackend", "RabbitMQStore"]

_MODULE_OF_NAME = {
    "LedgerStore": "ledger",
    "RabbitMQClient": "client",
    "RabbitMQConsumerBackend": "client",
    "RabbitMQStore": "store",
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
