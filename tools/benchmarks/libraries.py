"""Which libraries take part, in which versions, and how their workers are started.

Each has one worker process. Where its documentation leaves a choice, every choice is tried once
and the fastest one takes part.
"""

from dataclasses import dataclass
from typing import NamedTuple

_RIVALS = "tools.benchmarks.rivals"


class Worker(NamedTuple):
    """One way to start a worker.

    Attributes:
        how: what is chosen, as the table says it; empty where there is no choice.
        command: what follows `python -m`; `{queue}` and `{url}` are filled in.
        at_once: jobs that it handles at a time, where that is no word of the command.
        variables: what its environment has beside ours.
    """

    how: str
    command: tuple[str, ...]
    at_once: int = 1
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Library:
    """Another library.

    Attributes:
        name: as people call it; its version is that of the first package.
        module: the one in `rivals`.
        packages: what is installed, pinned.
        workers: the ways to start its worker.
        note: the settings that decide what its figures mean.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    workers: tuple[Worker, ...]
    note: str

    @property
    def version(self) -> str:
        """The version that is pinned."""
        return self.packages[0].partition("==")[2]


def _celery(*packages: str) -> Library:
    command = ("celery", "-A", f"{_RIVALS}.celery_rival", "worker", "-l", "ERROR")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return Library(
        "celery",
        "celery_rival",
        packages,
        (
            Worker("solo", (*command, *quiet, "-P", "solo")),
            Worker("prefork", (*command, *quiet, "-P", "prefork", "-c", "1")),
        ),
        "acks_late, prefetch 128, no events, gossip or heartbeats, publishes confirmed on RabbitMQ",
    )


def _dramatiq(client: str) -> Library:
    command = ("dramatiq", f"{_RIVALS}.dramatiq_rival", "--skip-logging", "-p", "1", "-t")
    prefetch = (("dramatiq_queue_prefetch", "100"),)
    return Library(
        "dramatiq",
        "dramatiq_rival",
        ("dramatiq==2.2.1", client),
        (
            Worker("8 threads", (*command, "8")),
            Worker("8 threads, prefetch 100", (*command, "8"), variables=prefetch),
            Worker("1 thread, prefetch 100", (*command, "1"), variables=prefetch),
        ),
        "acknowledges after the run, publishes confirmed on RabbitMQ",
    )


def _taskiq(client: str) -> Library:
    command = ("taskiq", "worker", f"{_RIVALS}.taskiq_rival:broker", "--workers", "1")
    quiet = ("--log-level", "ERROR", "--no-parse")
    return Library(
        "taskiq",
        "taskiq_rival",
        ("taskiq==0.13.0", client),
        (
            Worker("100 at once", (*command, *quiet)),
            Worker("10 at once", (*command, *quiet, "--max-async-tasks", "10")),
        ),
        "acknowledges after the run (a stream's group, or a prefetch of 100), arguments not parsed",
    )


_REDIS_PY = "redis[hiredis]==8.1.0"
_HIREDIS = "hiredis==3.5.0"
"""For those that want an older redis-py."""
_RQ = ("rq.cli", "worker", "--quiet", "--burst", "--url", "{url}", "--name", "{queue}")
_SAQ = ("saq", f"{_RIVALS}.saq_rival.settings", "--quiet")
_ARQ = ("arq", f"{_RIVALS}.arq_rival.WorkerSettings", "--custom-log-dict", f"{_RIVALS}.quiet.LOG")
_HUEY = ("huey.bin.huey_consumer", f"{_RIVALS}.huey_rival.queue", "--no-periodic", "--quiet")

REDIS_LIBRARIES = (
    _celery("celery[redis]==5.7.0", _REDIS_PY),
    _dramatiq(_REDIS_PY),
    Library(
        "rq",
        "rq_rival",
        ("rq==3.0.0", _REDIS_PY),
        (Worker("SimpleWorker", (*_RQ, "--worker-class", "rq.SimpleWorker", "{queue}")),),
        "burst; a started job is in a registry until it is done, and fails with its worker",
    ),
    Library(
        "arq",
        "arq_rival",
        ("arq==0.28.0", _HIREDIS),
        tuple(Worker(f"max_jobs {most}", _ARQ, most) for most in (10, 100)),
        "in-progress keys, so at least once; polls each 10 ms instead of each 500",
    ),
    Library(
        "saq",
        "saq_rival",
        # on Python 3.11 it forgets to ask for the second one
        ("saq[redis]==0.26.4", "typing-extensions==4.16.0", _HIREDIS),
        tuple(Worker(f"concurrency {most}", _SAQ, most) for most in (1, 10, 100)),
        "a job is in the active list until it is done, so at least once",
    ),
    _taskiq("taskiq-redis==1.2.4"),
    Library(
        "huey",
        "huey_rival",
        ("huey==3.5.4", _REDIS_PY),
        tuple(Worker(f"{some} threads", (*_HUEY, "-w", some)) for some in ("1", "4")),
        "acknowledges nothing: a job is gone when it is taken",
    ),
)
RABBITMQ_LIBRARIES = (
    _celery("celery==5.7.0"),
    _dramatiq("pika==1.4.4"),
    _taskiq("taskiq-aio-pika==0.6.1"),
)
