"""The old import path of `JobType`."""

from mindtrace.jobs.routing import JobType

__all__ = ["JobType"]
