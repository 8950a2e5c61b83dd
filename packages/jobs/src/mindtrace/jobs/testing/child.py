"""What the process tests start: `python -m mindtrace.jobs.testing.child ROLE URL QUEUE`.

Each role tells on its standard output what it does, one line at a time.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from mindtrace.core.clock import SystemClock
from mindtrace.jobs import Consumer, Orchestrator, backend_from_url
from mindtrace.jobs.testing.harness import ack, entry

if TYPE_CHECKING:
    from collections.abc import Callable


def say(*words: object) -> None:
    """Write one line, at once."""
    os.write(1, (" ".join(str(each) for each in words) + "\n").encode())


def rest(seconds: float) -> None:
    """Let time pass, giving up the interpreter's lock."""
    threading.Event().wait(seconds)


class Worker(Consumer):
    """Tells when a job begins and when it is finished."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self.work = work

    def run(self, job_dict: Any) -> None:
        """Work."""
        say("began", job_dict["id"], job_dict["lost"])
        self.work()
        say("finished", job_dict["id"])


def consume(url: str, queue: str, work: Callable[[], None], **how: Any) -> None:
    """Consume until told to stop."""
    orchestrator = Orchestrator(backend_from_url(url))
    worker = Worker(work)
    worker.connect_to_orchestrator(orchestrator, queue)
    say("handled", worker.consume(**how))
    orchestrator.close()


def hold_the_lock() -> None:
    """Spend three seconds in one call of C code that keeps the interpreter's lock."""
    clock = SystemClock()
    began = clock.monotonic()
    sum(range(5_000_000))
    per_second = 5_000_000 / (clock.monotonic() - began)
    sum(range(int(per_second * 3)))


def hold(url: str, queue: str) -> None:
    """Receive one job, and keep it until killed."""
    holder = backend_from_url(url).store.holder()
    (delivery,) = holder.receive([queue], limit=1, wait=20).deliveries
    say("holds", delivery.id)
    rest(300)


def fork_and_die(url: str, queue: str) -> None:
    """Receive one job and fork; the child lives on when this process is killed."""
    holder = backend_from_url(url).store.holder()
    (delivery,) = holder.receive([queue], limit=1, wait=20).deliveries
    child = os.fork()
    if child == 0:
        rest(30)
        os._exit(0)
    say("holds", delivery.id, child)
    rest(300)


def fork_and_use(url: str, queue: str) -> None:
    """Receive one job and fork; the child uses the client, and the parent still holds its job."""
    client = backend_from_url(url)
    holder = client.store.holder()
    (delivery,) = holder.receive([queue], limit=1, wait=20).deliveries
    child = os.fork()
    if child == 0:
        client.store.publish(queue, [entry("from the child")])
        own = client.store.holder()
        (mine,) = own.receive([queue], limit=1, wait=20).deliveries
        say("child has", mine.id)
        say("child's settle was refused:", len(own.settle([ack(mine)])))
        own.close()
        client.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    say("child ended", status)
    stats = client.store.stats(queue)
    say("counts", stats.ready, stats.leased)
    say("refused", len(holder.settle([ack(delivery)])))
    holder.close()
    client.close()


ROLES: dict[str, Callable[[str, str], None]] = {
    "hold": hold,
    "fork-and-die": fork_and_die,
    "fork-and-use": fork_and_use,
    "short": lambda url, queue: consume(url, queue, lambda: rest(0.3), prefetch=3),
    "long": lambda url, queue: consume(url, queue, lambda: rest(60)),
    "quick": lambda url, queue: consume(url, queue, lambda: rest(0.02)),
    "locked": lambda url, queue: consume(url, queue, hold_the_lock, num_messages=1),
}


if __name__ == "__main__":
    role, url, queue = sys.argv[1:]
    ROLES[role](url, queue)
