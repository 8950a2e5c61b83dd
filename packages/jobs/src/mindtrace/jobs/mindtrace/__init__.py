"""The old import path `mindtrace.jobs.mindtrace.types`."""
