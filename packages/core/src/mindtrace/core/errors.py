"""The errors of this package, and the base of all errors of Mindtrace.

    MindtraceError
    ├── InvalidSettingError      variable, problem          (also ValueError)
    └── NetworkError             address, problem
        ├── PortInUseError       host, port
        ├── NoFreePortError      host, first, last, wanted
        └── ServiceTimeoutError  host, port, timeout        (also TimeoutError)

An error carries facts; its message is made from them. No message holds a setting's value,
because the value may be a secret.
"""

from typing import Self


class MindtraceError(Exception):
    """Is the base of every error that a Mindtrace package raises on purpose.

    Errors of the language (`TypeError` for a wrong call, `ImportError` for a missing package)
    are raised as they are and do not derive from it.
    """


class InvalidSettingError(MindtraceError, ValueError):
    """Says which environment variable holds a value that cannot be used, and why.

    The value itself is left out of the message: it may be a password.
    """

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(variable, problem)
        self.variable = variable
        self.problem = problem

    def __str__(self) -> str:
        return f"The setting {self.variable} cannot be used: {self.problem}."


class NetworkError(MindtraceError):
    """Says that an address cannot be resolved or used on this machine."""

    def __init__(self, address: str, problem: str) -> None:
        # One argument only: OSError, a base of some subclasses, would take two for an errno.
        super().__init__(f"{address} cannot be used: {problem}.")
        self.address = address
        self.problem = problem

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.address, self.problem)


class PortInUseError(NetworkError):
    """Says that a port is taken, so that a server cannot listen on it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}", "the port is in use; stop its owner or choose another")
        self.host = host
        self.port = port

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.host, self.port)


class NoFreePortError(NetworkError):
    """Says that a range holds fewer free ports than were asked for."""

    def __init__(self, host: str, first: int, last: int, wanted: int) -> None:
        super().__init__(
            f"{host}:{first}-{last}",
            f"fewer than {wanted} of these ports are free; widen the range",
        )
        self.host = host
        self.first = first
        self.last = last
        self.wanted = wanted

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.host, self.first, self.last, self.wanted)


class ServiceTimeoutError(NetworkError, TimeoutError):
    """Says that nothing accepted a connection at an address before the deadline."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        super().__init__(f"{host}:{port}", f"nothing answered within {timeout:g} seconds")
        self.host = host
        self.port = port
        self.timeout = timeout

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.host, self.port, self.timeout)
