"""A configuration of the log for those who would write a line for each job otherwise."""

LOG = {"version": 1, "disable_existing_loggers": False}
