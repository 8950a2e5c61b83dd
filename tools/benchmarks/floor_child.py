"""A process with the raw floor's consumer. Its first line describes the floor.

It waits for orders: `take` takes one job and says its number and when it had it, `cpu` tells the
CPU time that was used, a number consumes so many jobs.
"""

import json
import os
import sys
import time
from typing import Any

from tools.benchmarks.floors import opened


def say(text: str) -> None:
    """Write a line at once."""
    os.write(1, f"{text}\n".encode())


def started(job: Any) -> None:
    """Say which job began, and when."""
    began = time.monotonic_ns()
    say(f"{job['number']} {began}")


def main() -> None:
    """Obey until the standard input ends."""
    floor = opened(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        order = line.strip()
        if order == "take":
            floor.take(started)
        elif order == "cpu":
            say(str(time.process_time_ns()))
        else:
            floor.consume(int(order))
            say(order)


if __name__ == "__main__":
    main()
