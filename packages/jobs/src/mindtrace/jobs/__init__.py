"""Typed jobs on durable queues: the same code on a SQLite file, Redis or RabbitMQ.

Importing this package loads none of its modules: each is loaded when one of its names is first
used, and a backend's library not before that backend is. It configures no logging and opens no
file.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mindtrace.core.handlers import bind_handler_factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.core import TaskSchema
    from mindtrace.jobs.backend import BackendType, Capabilities, QueueOptions, QueueStats
    from mindtrace.jobs.client import OrchestratorBackend
    from mindtrace.jobs.consumer import Consumer, FunctionConsumer, handler
    from mindtrace.jobs.consumer_backend import ConsumerBackend
    from mindtrace.jobs.dead_letter import DeadLetter
    from mindtrace.jobs.errors import (
        BackendUnavailableError,
        DuplicateJobError,
        JobCancelledError,
        JobFailedError,
        JobNotFoundError,
        JobsError,
        JobTimeoutError,
        JobValidationError,
        PayloadTooLargeError,
        QueueError,
        QueueNotFoundError,
        QueueTypeMismatchError,
        SchemaNotFoundError,
        StaleDeliveryError,
        UnsupportedByBackendError,
    )
    from mindtrace.jobs.execution import Progress
    from mindtrace.jobs.handle import JobHandle, ProgressReport
    from mindtrace.jobs.job import (
        ExecutionStatus,
        Job,
        JobDict,
        JobInput,
        JobOutput,
        JobSchema,
        job_from_schema,
    )
    from mindtrace.jobs.loading import backend_from_url, load_backend
    from mindtrace.jobs.local import (
        LocalClient,
        LocalConsumerBackend,
        LocalPriorityQueue,
        LocalQueue,
        LocalStack,
    )
    from mindtrace.jobs.migration import migrate
    from mindtrace.jobs.orchestrator import Orchestrator
    from mindtrace.jobs.retry import Reject, Retry, RetryPolicy
    from mindtrace.jobs.routing import (
        QUEUE_MAPPING,
        JobType,
        get_queue_for_job,
        get_queue_for_job_type,
    )

    # of packages of their own, which may be missing: a star import must not ask for them, so they
    # are not in `__all__`
    from mindtrace.jobs_rabbitmq import RabbitMQClient as RabbitMQClient
    from mindtrace.jobs_rabbitmq import RabbitMQConsumerBackend as RabbitMQConsumerBackend
    from mindtrace.jobs_redis import RedisClient as RedisClient
    from mindtrace.jobs_redis import RedisConsumerBackend as RedisConsumerBackend

__version__ = "1.1.0"

__all__ = [
    "QUEUE_MAPPING",
    "BackendType",
    "BackendUnavailableError",
    "Capabilities",
    "Consumer",
    "ConsumerBackend",
    "DeadLetter",
    "DuplicateJobError",
    "ExecutionStatus",
    "FunctionConsumer",
    "Job",
    "JobCancelledError",
    "JobDict",
    "JobFailedError",
    "JobHandle",
    "JobInput",
    "JobNotFoundError",
    "JobOutput",
    "JobSchema",
    "JobTimeoutError",
    "JobType",
    "JobValidationError",
    "JobsError",
    "LocalClient",
    "LocalConsumerBackend",
    "LocalPriorityQueue",
    "LocalQueue",
    "LocalStack",
    "Orchestrator",
    "OrchestratorBackend",
    "PayloadTooLargeError",
    "Progress",
    "ProgressReport",
    "QueueError",
    "QueueNotFoundError",
    "QueueOptions",
    "QueueStats",
    "QueueTypeMismatchError",
    "Reject",
    "Retry",
    "RetryPolicy",
    "SchemaNotFoundError",
    "StaleDeliveryError",
    "UnsupportedByBackendError",
    "backend_from_url",
    "get_queue_for_job",
    "get_queue_for_job_type",
    "handler",
    "job_from_schema",
    "load_backend",
    "migrate",
]

_NAMES_OF_MODULE = {
    "backend": (
        "BackendType",
        "Capabilities",
        "QueueOptions",
        "QueueStats",
    ),
    "client": ("OrchestratorBackend",),
    "consumer": (
        "Consumer",
        "FunctionConsumer",
        "handler",
    ),
    "consumer_backend": ("ConsumerBackend",),
    "dead_letter": ("DeadLetter",),
    "errors": (
        "BackendUnavailableError",
        "DuplicateJobError",
        "JobCancelledError",
        "JobFailedError",
        "JobNotFoundError",
        "JobsError",
        "JobTimeoutError",
        "JobValidationError",
        "PayloadTooLargeError",
        "QueueError",
        "QueueNotFoundError",
        "QueueTypeMismatchError",
        "SchemaNotFoundError",
        "StaleDeliveryError",
        "UnsupportedByBackendError",
    ),
    "execution": ("Progress",),
    "handle": (
        "JobHandle",
        "ProgressReport",
    ),
    "job": (
        "ExecutionStatus",
        "Job",
        "JobDict",
        "JobInput",
        "JobOutput",
        "JobSchema",
        "job_from_schema",
    ),
    "loading": (
        "backend_from_url",
        "load_backend",
    ),
    "local": (
        "LocalClient",
        "LocalConsumerBackend",
        "LocalPriorityQueue",
        "LocalQueue",
        "LocalStack",
    ),
    "migration": ("migrate",),
    "orchestrator": ("Orchestrator",),
    "retry": (
        "Reject",
        "Retry",
        "RetryPolicy",
    ),
    "routing": (
        "QUEUE_MAPPING",
        "JobType",
        "get_queue_for_job",
        "get_queue_for_job_type",
    ),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}

# names of backends that come as packages of their own
_BACKEND_OF_NAME = {
    "RedisClient": "redis",
    "RedisConsumerBackend": "redis",
    "RabbitMQClient": "rabbitmq",
    "RabbitMQConsumerBackend": "rabbitmq",
}


def __getattr__(name: str) -> object:
    value: object
    if name in _MODULE_OF_NAME:
        value = getattr(import_module(f"mindtrace.jobs.{_MODULE_OF_NAME[name]}"), name)
    elif name in _BACKEND_OF_NAME:
        loading = import_module("mindtrace.jobs.loading")
        client = loading.load_backend(_BACKEND_OF_NAME[name], name)
        value = client if name.endswith("Client") else client.consumer_backend_class
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _make_handler(
    schema: "TaskSchema", function: "Callable[..., object]", options: dict[str, Any]
) -> object:
    """Do what `TaskSchema.handler` asks for."""
    from mindtrace.jobs.consumer import FunctionConsumer  # noqa: PLC0415 - loaded on first use

    return FunctionConsumer(schema, function, **options)


bind_handler_factory(_make_handler)
