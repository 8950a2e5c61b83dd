"""Measure: `ds bench: jobs [--backend local] [--only publish,consume] [--json FILE] ...`.

Everything is measured beside plain `sqlite3` in the same run, in turns, and given as a ratio. Times
of one machine at one moment say little; compare inside one table. `--strict` makes a missed bar a
failure.
"""

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from tools.benchmarks.depth import depth
from tools.benchmarks.idle import idle
from tools.benchmarks.imports import imports
from tools.benchmarks.latency import latency
from tools.benchmarks.machine import facts
from tools.benchmarks.memory import memory
from tools.benchmarks.peers import peers
from tools.benchmarks.report import Row, table
from tools.benchmarks.settings import Settings, SkippedError
from tools.benchmarks.takeover import takeover
from tools.benchmarks.throughput import consume, publish, publish_many

MEASURES: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "publish": publish,
    "publish_many": publish_many,
    "consume": consume,
    "peers": peers,
    "depth": depth,
    "latency": latency,
    "idle": idle,
    "memory": memory,
    "takeover": takeover,
    "import": imports,
}
NOTE = """\
Everybody takes turns; a ratio is the median over the rounds, with its quartiles. The machine may be
busy with other things: trust ratios more than rates, and compare inside one table only. Peers are
given a dict and write it their own way (huey: as a call of a task; its storage alone: as JSON);
litequeue and persist-queue acknowledge, huey deletes a job when it is taken."""
STOPPED = 130


@dataclass
class Found:
    """What came out so far."""

    facts: dict[str, str | int | float]
    rows: list[Row] = field(default_factory=list[Row])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    failed: dict[str, str] = field(default_factory=dict[str, str])

    def missed(self) -> bool:
        """Tell whether a bar was missed."""
        return any(row.verdict == "MISSED" for row in self.rows)


def main(words: list[str]) -> int:
    """Measure, print, and return the exit code."""
    asked = parse(words)
    settings = settings_of(asked)
    found = Found(facts(settings.folder))
    found.facts |= {"synchronous": settings.synchronous, "rounds": settings.rounds}
    signal.signal(signal.SIGTERM, _stop)
    try:
        for name in asked.only:
            measure(name, settings, found)
        code = int(bool(found.failed) or (asked.strict and found.missed()))
    except KeyboardInterrupt:
        progress("stopped")
        code = STOPPED
    if asked.json:
        write_json(asked.json, found)
    if asked.json != "-":
        print_all(found)
    return code


def measure(name: str, settings: Settings, found: Found) -> None:
    """Take one measure; one that fails does not take the others with it."""
    progress(f"{name} ...")
    try:
        # row by row: those before an interruption count
        found.rows.extend(MEASURES[name](settings))
    except SkippedError as reason:
        found.skipped[name] = str(reason)
    except Exception as error:  # noqa: BLE001 - told here, and in the exit code
        traceback.print_exc()
        found.failed[name] = f"{type(error).__name__}: {error}"


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="ds bench:", description=__doc__)
    parser.add_argument("module", nargs="?", choices=["jobs"], default="jobs")
    parser.add_argument("--backend", choices=["local"], default="local")
    parser.add_argument("--durability", choices=["normal", "full"], default="normal")
    parser.add_argument(
        "--only", type=names, default=list(MEASURES), help=", ".join(MEASURES), metavar="MEASURES"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave other libraries out")
    parser.add_argument(
        "--queue-types", type=queue_types, help="whose depth is tried, such as fifo,stack"
    )
    parser.add_argument("--rounds", type=positive, help="turns of each contestant")
    parser.add_argument(
        "--count", type=positive, help="jobs in a turn; consuming takes five times as many"
    )
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it work at all?")
    parser.add_argument("--folder", type=folder, help="where to work; decides the file system")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, - for the output")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bar is missed")
    return parser.parse_args(words)


def names(text: str) -> list[str]:
    """Split the value of --only."""
    return _each_of(text, MEASURES)


def queue_types(text: str) -> tuple[str, ...]:
    """Split the value of --queue-types."""
    return tuple(_each_of(text, ("fifo", "priority", "stack")))


def _each_of(text: str, known: Iterable[str]) -> list[str]:
    words = text.split(",")
    for word in words:
        if word not in known:
            message = f"there is no {word!r}; there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
    return words


def positive(text: str) -> int:
    """Read a number that is at least 1."""
    if not text.isdecimal() or int(text) < 1:
        message = f"a number of at least 1, not {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def folder(text: str) -> Path:
    """Read the path of a folder that exists."""
    path = Path(text).resolve()
    if not path.is_dir():
        message = f"there is no folder {text!r}"
        raise argparse.ArgumentTypeError(message)
    return path


def settings_of(asked: argparse.Namespace) -> Settings:
    """Return the sizes that the command line asks for."""
    settings = Settings(folder=asked.folder, synchronous=asked.durability, peers=not asked.no_peers)
    if asked.quick:
        settings = settings.quick()
    chosen: dict[str, Any] = {"queue_types": asked.queue_types, "rounds": asked.rounds}
    if asked.count:
        chosen |= {"count": asked.count, "many": 5 * asked.count}
    return replace(settings, **{name: value for name, value in chosen.items() if value})


def print_all(found: Found) -> None:
    """Print what a person reads."""
    print(", ".join(f"{name} {value}" for name, value in found.facts.items()))
    print(NOTE, end="\n\n")
    print(table(found.rows))
    for name, reason in found.skipped.items():
        print(f"{name}: skipped, {reason}")
    for name, reason in found.failed.items():
        print(f"{name}: FAILED, {reason}")


def write_json(place: str, found: Found) -> None:
    """Write the numbers to a file, or to the standard output."""
    values = {
        "facts": found.facts,
        "rows": [row.as_json() for row in found.rows],
        "skipped": found.skipped,
        "failed": found.failed,
    }
    text = json.dumps(values, indent=2) + "\n"
    if place == "-":
        sys.stdout.write(text)
    else:
        Path(place).write_text(text, encoding="utf-8")


def progress(what: str) -> None:
    """Tell the person who waits, and not the file that the output may go to."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


def _stop(*_: object) -> NoReturn:
    """Leave as with Ctrl-C, so that folders and processes are cleaned up."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
