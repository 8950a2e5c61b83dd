"""A process with the raw floor's consumer: `floor_child <folder> <synchronous>`.

It waits for orders: `take` claims one row and says its number and when it had it, `cpu` tells the
CPU time that was used, a number consumes so many rows.
"""

import os
import sys
import time
from pathlib import Path

from tools.benchmarks.floor import Floor


def say(text: str) -> None:
    """Write a line at once."""
    os.write(1, f"{text}\n".encode())


def main(folder: str, synchronous: str) -> None:
    """Obey until the standard input ends."""
    floor = Floor(Path(folder), "full" if synchronous == "full" else "normal")
    for line in sys.stdin:
        order = line.strip()
        if order == "take":
            claimed = floor.claim(1)
            began = time.monotonic_ns()
            say(f"{claimed[0][1]['number']} {began}")
            floor.delete(claimed)
        elif order == "cpu":
            say(str(time.process_time_ns()))
        else:
            floor.consume(int(order))
            say(order)


if __name__ == "__main__":
    main(*sys.argv[1:])
