"""A process with our consumer: `our_child report|hold|count`. Its first line describes the client.

report: says the number of each job and when its handler began. hold: the same, and never ends a
job. count: consumes as many jobs as each further line on its standard input says.
"""

import json
import os
import sys
import threading
import time

from mindtrace.jobs import Consumer, JobDict, Orchestrator
from mindtrace.jobs.loading import backend_from_args
from tools.benchmarks.payload import QUEUE, SCHEMA


def say(text: str) -> None:
    """Write a line at once."""
    os.write(1, f"{text}\n".encode())


class Reporting(Consumer):
    """Says when each job began."""

    def run(self, job_dict: JobDict) -> None:
        """Say it."""
        began = time.monotonic_ns()
        say(f"{job_dict['payload']['number']} {began}")


class Holding(Reporting):
    """Begins a job and never ends it."""

    def run(self, job_dict: JobDict) -> None:
        """Say that it began."""
        super().run(job_dict)
        threading.Event().wait()


class Counting(Consumer):
    """Does nothing with a job."""

    def run(self, job_dict: JobDict) -> None:
        """Do nothing."""


def obey() -> None:
    """Tell the CPU time that was used, whenever asked; end when nobody can ask any more."""
    for _ in sys.stdin:
        say(str(time.process_time_ns()))
    os._exit(0)


def main(mode: str) -> None:
    """Consume until the standard input ends."""
    orchestrator = Orchestrator(backend_from_args(json.loads(sys.stdin.readline())))
    orchestrator.register(SCHEMA)
    kinds = {"report": Reporting, "hold": Holding, "count": Counting}
    consumer = kinds[mode](QUEUE)
    consumer.connect(orchestrator)
    if mode == "count":
        for line in sys.stdin:
            say(str(consumer.consume(num_messages=int(line))))
    else:
        threading.Thread(target=obey, daemon=True).start()
        consumer.consume()


if __name__ == "__main__":
    main(*sys.argv[1:])
