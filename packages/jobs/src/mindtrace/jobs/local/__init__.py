"""The backend on one SQLite file, or in memory."""

from mindtrace.jobs.local.client import LocalClient, LocalConsumerBackend
from mindtrace.jobs.local.queues import LocalPriorityQueue, LocalQueue, LocalStack
from mindtrace.jobs.local.store import LocalStore

__all__ = [
    "LocalClient",
    "LocalConsumerBackend",
    "LocalPriorityQueue",
    "LocalQueue",
    "LocalStack",
    "LocalStore",
]
