"""The measures of the cluster: starting, one job, many, a worker that is killed, memory."""
