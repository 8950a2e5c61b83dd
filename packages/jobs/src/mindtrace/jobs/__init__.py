"""Typed jobs on durable queues: the same code on a SQLite file, Redis or RabbitMQ.

Importing this loads no backend and opens no file: clients and their engines come on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mindtrace.core.task import bind_handler_factory
from mindtrace.jobs.backend import (
    BackendType,
    Capabilities,
    QueueOptions,
    QueueStats,
)
from mindtrace.jobs.client import OrchestratorBackend
from mindtrace.jobs.consumer import Consumer, FunctionConsumer, handler, make_handler
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
from mindtrace.jobs.orchestrator import Orchestrator
from mindtrace.jobs.retry import Reject, Retry, RetryPolicy
from mindtrace.jobs.routing import (
    QUEUE_MAPPING,
    JobType,
    get_queue_for_job,
    get_queue_for_job_type,
)

if TYPE_CHECKING:
    from mindtrace.jobs.local import (
        LocalClient,
        LocalConsumerBackend,
        LocalPriorityQueue,
        LocalQueue,
        LocalStack,
    )

_LOCAL = (
    "LocalClient",
    "LocalConsumerBackend",
    "LocalPriorityQueue",
    "LocalQueue",
    "LocalStack",
)
_OTHERS = {
    "RedisClient": "redis",
    "RedisConsumerBackend": "redis",
    "RabbitMQClient": "rabbitmq",
    "RabbitMQConsumerBackend": "rabbitmq",
}

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
]

bind_handler_factory(make_handler)


def __getattr__(name: str) -> object:
    """Load a backend's names when they are first asked for."""
    if name in _LOCAL:
        value = getattr(import_module("mindtrace.jobs.local"), name)
    elif name in _OTHERS:
        client = load_backend(_OTHERS[name], name)
        value = client if name.endswith("Client") else client.consumer_backend_class
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value
