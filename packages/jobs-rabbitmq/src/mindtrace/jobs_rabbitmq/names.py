"""What a job queue is called in the broker, with the queues that stand beside it.

A queue `images` is the broker's queue `images`, so that others can publish to it; beside it are
`images.lost` (jobs whose consumer vanished), `images.dead`, and one `images.delay.<ms>` for each
length of delay in use. A namespace is put before them all: `team:images`.

Any text may name a job queue, so what would be taken for a name of another kind is called
otherwise: a queue `images.dead` is `images.dead.jobs` in the broker. A queue `a:b` of no namespace
is `:a:b` there, and so is `amq.x` `:amq.x`, because RabbitMQ keeps that beginning for itself.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

LONGEST = 255
"""Bytes that AMQP allows for the name of a queue."""

_ROOM = len(".doomed.99999999999999")
"""Bytes that the longest ending of ours takes."""

_RESERVED = re.compile(
    r"(\.(lost|dead|lock|delay\.\d+|doomed\.\d+)|mindtrace\.queues)(\.jobs)*\Z", re.ASCII
)
"""How the broker's queues end that are no queues of jobs, and those that `.jobs` was put to."""


class Names(NamedTuple):
    """The broker's names for one job queue."""

    main: str

    @classmethod
    def of(cls, namespace: str, queue: str) -> Names:
        """Return the names of a job queue.

        Raises:
            ValueError: the name is too long for AMQP.
        """
        return cls(_main(namespace, queue))

    @property
    def lost(self) -> str:
        """Where jobs wait whose consumer vanished; they are handed out one at a time."""
        return f"{self.main}.lost"

    @property
    def dead(self) -> str:
        """Where the dead letters are."""
        return f"{self.main}.dead"

    def delay(self, milliseconds: int) -> str:
        """Where jobs wait that are delayed by so much; the broker moves them on when it is over."""
        return f"{self.main}.delay.{milliseconds}"

    def doomed(self, milliseconds: int) -> str:
        """Where delayed jobs wait that expire, after so much, before they are due."""
        return f"{self.main}.doomed.{milliseconds}"


@lru_cache(maxsize=1024)
def _main(namespace: str, queue: str) -> str:
    own = f"{queue}.jobs" if _RESERVED.search(queue) else queue
    if namespace:
        name = f"{namespace}:{own}"
    else:
        name = f":{own}" if ":" in own or own.startswith("amq.") else own
    room = LONGEST - _ROOM
    if (size := len(name.encode())) > room:
        message = (
            f"on RabbitMQ a queue's name has at most {room} bytes together with its namespace; "
            f"this one has {size}"
        )
        raise ValueError(message)
    return name


def checked_namespace(namespace: str) -> str:
    """Return a namespace, or raise ValueError for one in which queues could be mistaken."""
    if ":" in namespace or namespace.startswith("amq."):
        message = (
            f"a namespace is text without a colon that does not begin with amq., not {namespace!r}"
        )
        raise ValueError(message)
    return namespace


def directory(namespace: str) -> str:
    """Return the name of the queue that holds the list of a namespace's queues."""
    return f"{namespace}:mindtrace.queues" if namespace else "mindtrace.queues"


def lock(of: str) -> str:
    """Return the name of the exclusive queue that stands for a lock."""
    return f"{of}.lock"
