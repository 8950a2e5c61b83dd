"""The old import path of `JobType`."""

from mindtrace.jobs.routing import JobType as JobType
