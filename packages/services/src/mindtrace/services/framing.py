"""What a launching process and its child tell each other, and how that lies in a pipe."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH = 8

LEEWAY = 5.0
"""Seconds beyond those that requests have, in which a process that stops has to be gone."""

LEEWAY_OF_MANY = 2.0
"""More seconds for a process that waits for those of its workers."""


@dataclass
class Order:
    """What a child is to do, beside the class that it is to serve.

    Attributes:
        url: Where; the port may be 0.
        host: What to listen on.
        port: Where to listen.
        sys_path: Where imports come from, if not from where the interpreter finds them itself, and
            before that from the folder that it works in.
        report: The descriptor of the pipe for the report.
        server_id: The id of the running service.
        pid_file: The file for the number of the process.
        workers: How many processes share the port.
        stop_within: Seconds that requests under way have to end.
        detached: Whether the child outlives its parent.
        sockets: Descriptors of sockets that listen already; a worker has them from its parent.
        insecure: Whether other machines are let in without a token.
    """

    url: str
    host: str
    port: int
    sys_path: list[str] | None
    report: int
    server_id: str
    pid_file: str | None
    workers: int = 1
    stop_within: float = 10.0
    detached: bool = False
    sockets: list[int] = field(default_factory=list[int])
    insecure: bool = False

    def url_at(self, port: int) -> str:
        """Return the URL with the port that was found."""
        if self.port != 0:
            return self.url
        start, _, _ = self.url.rstrip("/").rpartition(":")
        return f"{start}:{port}/"

    @property
    def own_pid_file(self) -> str | None:
        """The file for its number; None for a worker, whose parent has one for all."""
        return None if self.sockets else self.pid_file

    @property
    def gone_within(self) -> float:
        """Seconds after which the process has ended itself once it was told to stop."""
        return self.stop_within + LEEWAY + (LEEWAY_OF_MANY if self.workers > 1 else 0.0)


@dataclass
class Report:
    """What became of a launch: ready at a URL, or a problem."""

    url: str = ""
    server_id: str = ""
    pid_file: str | None = None
    problem: str = ""
    kind: Literal["error", "port"] = "error"


class Reporter:
    """Writes one report, and closes the pipe."""

    def __init__(self, descriptor: int) -> None:
        # what this process starts meanwhile must not keep the pipe open
        os.set_inheritable(descriptor, False)
        self._descriptor: int | None = descriptor

    def __call__(self, report: Report) -> None:
        """Report; a parent that is gone, or another report before, makes it do nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(json.dumps(asdict(report)).encode() + b"\n")
        except BrokenPipeError:
            pass  # the lifeline ends this process


def order(data: bytes) -> Order:
    """Return the order that a parent wrote as JSON."""
    return Order(**json.loads(data))


def framed(data: bytes) -> bytes:
    """Return data with its length before it."""
    return len(data).to_bytes(_LENGTH, "big") + data


def read(take: Callable[[int], bytes]) -> bytes:
    """Read what `framed` wrote.

    Args:
        take: Returns at most that many bytes; none at the end.

    Raises:
        EOFError: The other end is gone.
    """
    return _exactly(take, int.from_bytes(_exactly(take, _LENGTH), "big"))


def _exactly(take: Callable[[int], bytes], count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = take(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
