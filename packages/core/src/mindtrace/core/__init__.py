"""The foundation that every Mindtrace package stands on.

Here live task schemas, settings, logging, clocks and a few tools around ports, time and imports.
Nothing here knows of queues, services or clusters.

Importing this package loads none of its modules: each is loaded when one of its names is first
used, so that a program pays only for what it uses. It configures no logging, reads no environment
variable and opens no file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.core.base import Mindtrace, MindtraceABC
    from mindtrace.core.clock import Clock, ManualClock, SystemClock, utcnow, utcnow_iso
    from mindtrace.core.errors import (
        InvalidSettingError,
        MindtraceError,
        NetworkError,
        NoFreePortError,
        PortInUseError,
        ServiceTimeoutError,
    )
    from mindtrace.core.handlers import HandlerFactory, bind_handler_factory
    from mindtrace.core.log import get_logger, log_context, setup_logging
    from mindtrace.core.models import PositionalModel
    from mindtrace.core.net import (
        check_port_available,
        get_free_port,
        get_free_ports,
        get_local_ip,
        is_port_available,
        wait_for_service,
    )
    from mindtrace.core.operation import track_operation
    from mindtrace.core.section import Section
    from mindtrace.core.settings import Config, Settings, get_config
    from mindtrace.core.target import get_class, instantiate_target
    from mindtrace.core.task import TaskSchema
    from mindtrace.core.timing import Timeout, Timer
    from mindtrace.core.values import first_not_none, ifnone, named_lambda

__version__ = "1.0.0"

__all__ = [
    "Clock",
    "Config",
    "HandlerFactory",
    "InvalidSettingError",
    "ManualClock",
    "Mindtrace",
    "MindtraceABC",
    "MindtraceError",
    "NetworkError",
    "NoFreePortError",
    "PortInUseError",
    "PositionalModel",
    "Section",
    "ServiceTimeoutError",
    "Settings",
    "SystemClock",
    "TaskSchema",
    "Timeout",
    "Timer",
    "bind_handler_factory",
    "check_port_available",
    "first_not_none",
    "get_class",
    "get_config",
    "get_free_port",
    "get_free_ports",
    "get_local_ip",
    "get_logger",
    "ifnone",
    "instantiate_target",
    "is_port_available",
    "log_context",
    "named_lambda",
    "setup_logging",
    "track_operation",
    "utcnow",
    "utcnow_iso",
    "wait_for_service",
]

_NAMES_OF_MODULE = {
    "base": ("Mindtrace", "MindtraceABC"),
    "clock": ("Clock", "ManualClock", "SystemClock", "utcnow", "utcnow_iso"),
    "errors": (
        "InvalidSettingError",
        "MindtraceError",
        "NetworkError",
        "NoFreePortError",
        "PortInUseError",
        "ServiceTimeoutError",
    ),
    "handlers": ("HandlerFactory", "bind_handler_factory"),
    "log": ("get_logger", "log_context", "setup_logging"),
    "models": ("PositionalModel",),
    "net": (
        "check_port_available",
        "get_free_port",
        "get_free_ports",
        "get_local_ip",
        "is_port_available",
        "wait_for_service",
    ),
    "operation": ("track_operation",),
    "section": ("Section",),
    "settings": ("Config", "Settings", "get_config"),
    "target": ("get_class", "instantiate_target"),
    "task": ("TaskSchema",),
    "timing": ("Timeout", "Timer"),
    "values": ("first_not_none", "ifnone", "named_lambda"),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}


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
