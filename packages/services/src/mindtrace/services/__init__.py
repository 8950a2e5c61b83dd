"""Typed web services: define endpoints with Pydantic models, launch, call, put a gateway in front.

Importing this package loads none of its modules: each is loaded when one of its names is first
used, so that a program that only calls services does not pay for serving them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.services.connection_manager import ConnectionManager
    from mindtrace.services.endpoints import endpoint
    from mindtrace.services.errors import (
        AccessDeniedError,
        InsecureBindError,
        RequestInvalidError,
        ServiceError,
        ServiceLaunchError,
        ServicePortInUseError,
        ServiceTimeoutError,
        ServiceUnavailableError,
    )
    from mindtrace.services.gateway.gateway import Gateway
    from mindtrace.services.gateway.proxy_connection_manager import ProxyConnectionManager
    from mindtrace.services.generation import generate_connection_manager
    from mindtrace.services.registering import register_connection_manager
    from mindtrace.services.service import Service
    from mindtrace.services.settings import ServicesSettings
    from mindtrace.services.types import Heartbeat, ServerStatus

__version__ = "1.0.0"

_NAMES_OF_MODULE = {
    "connection_manager": ("ConnectionManager",),
    "endpoints": ("endpoint",),
    "errors": (
        "AccessDeniedError",
        "InsecureBindError",
        "RequestInvalidError",
        "ServiceError",
        "ServiceLaunchError",
        "ServicePortInUseError",
        "ServiceTimeoutError",
        "ServiceUnavailableError",
    ),
    "gateway.gateway": ("Gateway",),
    "gateway.proxy_connection_manager": ("ProxyConnectionManager",),
    "generation": ("generate_connection_manager",),
    "registering": ("register_connection_manager",),
    "service": ("Service",),
    "settings": ("ServicesSettings",),
    "types": ("Heartbeat", "ServerStatus"),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}

__all__ = [
    "AccessDeniedError",
    "ConnectionManager",
    "Gateway",
    "Heartbeat",
    "InsecureBindError",
    "ProxyConnectionManager",
    "RequestInvalidError",
    "ServerStatus",
    "Service",
    "ServiceError",
    "ServiceLaunchError",
    "ServicePortInUseError",
    "ServiceTimeoutError",
    "ServiceUnavailableError",
    "ServicesSettings",
    "endpoint",
    "generate_connection_manager",
    "register_connection_manager",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF_NAME.get(name)
    if module is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
