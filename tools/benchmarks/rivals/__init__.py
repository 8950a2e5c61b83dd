"""Other libraries' queues on a server; each module runs in an environment of its own.

A module makes what its library's own worker command loads, and has `publish(values)`, which returns
the seconds of all values but the first. Nothing of the workspace is imported here: it is not there.
"""
