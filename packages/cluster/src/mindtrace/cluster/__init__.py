"""A cluster of workers for typed jobs: manager, nodes, workers.

Importing this package loads none of its modules: each is loaded when one of its names is first
used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.cluster.core.types import ProxyWorker
    from mindtrace.cluster.launcher import StandardWorkerLauncher
    from mindtrace.cluster.manager import ClusterManager
    from mindtrace.cluster.node import Node
    from mindtrace.cluster.worker import Worker

__version__ = "1.0.0"

_MODULE_OF_NAME = {
    "ClusterManager": "manager",
    "Node": "node",
    "ProxyWorker": "core.types",
    "StandardWorkerLauncher": "launcher",
    "Worker": "worker",
}

__all__ = ["ClusterManager", "Node", "ProxyWorker", "StandardWorkerLauncher", "Worker"]


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
