"""The stages: of jobs and of the cluster one a backend, and one of services.

Each is loaded when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from tools.benchmarks.cluster.stage import ClusterStage
    from tools.benchmarks.stage import Stage
    from tools.benchmarks.web.measures import WebStage

AnyStage: TypeAlias = Union["Stage", "WebStage", "ClusterStage"]
"""What every measure is taken on."""

STAGES = {
    "jobs": {
        "local": ("stages.local", "LocalStage"),
        "redis": ("stages.redis", "RedisStage"),
        "rabbitmq": ("stages.rabbitmq", "RabbitStage"),
    },
    "services": {"local": ("web.measures", "WebStage")},
    "cluster": {
        "local": ("cluster.stage", "LocalCluster"),
        "redis": ("cluster.stage", "RedisCluster"),
        "distributed": ("cluster.stage", "DistributedCluster"),
    },
}
"""By package and backend, the module that has the stage, and its name there."""

BACKENDS = ("local", "redis", "rabbitmq", "distributed")


def stage_of(module: str, backend: str) -> "type[AnyStage]":
    """Return the stage of a package on a backend."""
    place, name = STAGES[module][backend]
    found: type[AnyStage] = getattr(import_module(f"tools.benchmarks.{place}"), name)
    return found
