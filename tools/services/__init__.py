"""Servers for the tests: found, started, or reported as missing.

`plugin` is what pytest loads, `ladder` the order in which a server is looked for, `redis` and
`rabbitmq` are servers of one's own, which a test may kill.
"""
