"""The errors of this package.

    MindtraceError
    ├── ServiceError             url, status, remote_type, remote_message, request_id
    │   ├── RequestInvalidError      details
    │   └── AccessDeniedError
    ├── ServiceUnavailableError  url, problem          (also ConnectionError)
    ├── ServiceTimeoutError      url, seconds          (also TimeoutError)
    ├── ServiceLaunchError       service, problem, output
    │   ├── ServicePortInUseError                      (also mindtrace.core.PortInUseError)
    │   └── InsecureBindError
    └── TargetError                                    (also ImportError)

The first three say what became of a call: the service answered with an error; nothing is known of
the call beyond what the message says; no answer came in time.
"""

from collections.abc import Sequence
from typing import Any, Self

from mindtrace.core.errors import MindtraceError, PortInUseError


class ServiceError(MindtraceError):
    """Says that a service answered a call with an error.

    Attributes:
        url: What was called.
        status: The HTTP status.
        remote_type: The class of the exception in the service, or a word for what it refused.
        remote_message: What the exception said.
        request_id: What the log lines of the service about this call carry; empty if unknown.
    """

    def __init__(
        self, url: str, status: int, remote_type: str, remote_message: str, request_id: str = ""
    ) -> None:
        super().__init__(url, status, remote_type, remote_message, request_id)
        self.url = url
        self.status = status
        self.remote_type = remote_type
        self.remote_message = remote_message
        self.request_id = request_id

    def __str__(self) -> str:
        request = f", request {self.request_id}" if self.request_id else ""
        return (
            f"{self.url} answered with {self.remote_type}: {self.remote_message} "
            f"(HTTP {self.status}{request})"
        )


class RequestInvalidError(ServiceError):
    """Says that a service found the input invalid; it did nothing.

    Attributes:
        details: What is wrong, as Pydantic lists it: dicts with `loc`, `msg` and `type`.
    """

    def __init__(self, url: str, details: Sequence[dict[str, Any]], request_id: str = "") -> None:
        lines = [_detail(each) for each in details]
        super().__init__(url, 422, "invalid input", "; ".join(lines), request_id)
        self.details = list(details)

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.url, self.details, self.request_id)


def _detail(detail: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail.get("loc", ()) if part != "body")
    problem = str(detail.get("msg", detail))
    return f"{place}: {problem}" if place else problem


class AccessDeniedError(ServiceError):
    """Says that a service wants a token, or another one, or refuses where the call came from."""


class ServiceUnavailableError(MindtraceError, ConnectionError):
    """Says that a service could not be reached, or was lost before it answered.

    In the second case, which the message names, it may have done what it was asked for.
    """

    def __init__(self, url: str, problem: str) -> None:
        # One argument only: OSError, a base, would take two for an errno.
        super().__init__(f"{url} is not available: {problem}.")
        self.url = url
        self.problem = problem

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.url, self.problem)


class ServiceTimeoutError(MindtraceError, TimeoutError):
    """Says that a service did not answer in time. It may still be at it."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(f"{url} did not answer within {seconds:g} s; it may still be at it.")
        self.url = url
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.url, self.seconds)


class ServiceLaunchError(MindtraceError):
    """Says that a service did not start; no process of it is left.

    Attributes:
        service: The name of its class.
        problem: Why, as far as known.
        output: The last lines that its process wrote.
    """

    def __init__(self, service: str, problem: str, output: str = "") -> None:
        lines = f"\nThe last lines it wrote:\n{output}" if output else ""
        Exception.__init__(self, f"{service} did not start: {problem.rstrip('.')}.{lines}")
        self.service = service
        self.problem = problem
        self.output = output

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.service, self.problem, self.output)


class ServicePortInUseError(ServiceLaunchError, PortInUseError):
    """Says that a service did not start because something else listens on its port."""

    def __init__(self, service: str, host: str, port: int) -> None:
        problem = f"port {port} of {host} is already in use; stop its owner or choose another"
        # not super(): the next class in line would take other arguments
        Exception.__init__(self, f"{service} did not start: {problem}.")
        self.service = service
        self.problem = problem
        self.output = ""
        self.address = f"{host}:{port}"
        self.host = host
        self.port = port

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.service, self.host, self.port)


class InsecureBindError(ServiceLaunchError):
    """Says that a service would have been open to other machines without a token."""

    def __init__(self, service: str, host: str) -> None:
        super().__init__(
            service,
            f"{host} can be reached by other machines and no token is set; "
            "set MINDTRACE_SERVICES__API_TOKEN, or say insecure=True",
        )
        self.host = host

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.service, self.host)


class TargetError(MindtraceError, ImportError):
    """Says that what is to be launched by its name is no class, or not one of that kind."""
