"""Publish with one library: `python -m tools.benchmarks.rivals.publish <module>`.

The standard input is one line: a list of texts. The answer is the seconds that all but the first
job took.
"""

import json
import sys
from importlib import import_module
from itertools import cycle, islice

from tools.benchmarks.rivals.order import LAST


def main(library: str) -> None:
    """Publish, and say how long it took."""
    values = [json.loads(text) for text in json.loads(sys.stdin.readline())]
    module = import_module(f"tools.benchmarks.rivals.{library}")
    took = module.publish(list(islice(cycle(values), LAST + 1)))
    sys.stdout.write(f"{took}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
