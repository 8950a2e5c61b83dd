"""Measure: `ds bench: jobs [--backend redis] [--only publish,consume] [--json FILE] ...`,
`ds bench: services`, or `ds bench: cluster [--backend distributed]`.

Everything is measured beside the plain library (`sqlite3`, `redis-py`, `pika`; FastAPI and httpx)
in the same run, in turns, and given as a ratio. Times of one machine at one moment say little;
compare inside one table. `--strict` makes a missed bar a failure.
"""

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import import_module
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
from tools.benchmarks.stage import Stage
from tools.benchmarks.stages import BACKENDS, STAGES, AnyStage, stage_of
from tools.benchmarks.takeover import takeover
from tools.benchmarks.throughput import consume, publish, publish_many
from tools.services.ladder import UnavailableError

MEASURES: dict[str, Callable[[Stage], Iterator[Row]]] = {
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
busy with other things: trust ratios more than rates, and compare inside one table only."""
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
    signal.signal(signal.SIGTERM, _stop)
    try:
        with ExitStack() as stack:
            stage = stage_of(asked.module, asked.backend)(settings_of(asked), stack)
            return report(asked, stage)
    except UnavailableError as error:
        progress(str(error))
        return 1


def report(asked: argparse.Namespace, stage: AnyStage) -> int:
    """Take the measures, print what came out, and return the exit code."""
    found = Found(facts() | stage.facts())
    found.facts["rounds"] = stage.settings.rounds
    try:
        for name in asked.only:
            measure(name, stage, found)
        code = int(bool(found.failed) or (asked.strict and found.missed()))
    except KeyboardInterrupt:
        progress("stopped")
        code = STOPPED
    if asked.json:
        write_json(asked.json, found)
    if asked.json != "-":
        print_all(found, stage.note)
    return code


def measure(name: str, stage: AnyStage, found: Found) -> None:
    """Take one measure; one that fails does not take the others with it."""
    progress(f"{name} ...")
    try:
        # row by row: those before an interruption count
        found.rows.extend(measures_of(stage)[name](stage))
    except SkippedError as reason:
        found.skipped[name] = str(reason)
    except Exception as error:  # noqa: BLE001 - told here, and in the exit code
        traceback.print_exc()
        found.failed[name] = f"{type(error).__name__}: {error}"


# Any: each package's measures take a stage of that package
def measures_of(stage: AnyStage) -> Mapping[str, Callable[[Any], Iterator[Row]]]:
    """Return what can be measured on a stage."""
    if isinstance(stage, Stage):
        return MEASURES
    # slow to load
    found: Mapping[str, Any] = import_module(f"tools.benchmarks.{stage.folder}.measures").MEASURES
    return found


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="ds bench:", description=__doc__)
    parser.add_argument("module", nargs="?", choices=tuple(STAGES), default="jobs")
    parser.add_argument("--backend", choices=BACKENDS, default="local")
    parser.add_argument(
        "--durability", choices=["normal", "full"], help="of the local backend; normal by default"
    )
    parser.add_argument(
        "--only", type=names, help="which, with commas between them", metavar="MEASURES"
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
    asked = parser.parse_args(words)
    if asked.backend not in STAGES[asked.module]:
        parser.error(
            f"{asked.module}: not measured on {asked.backend!r}, but on "
            f"{', '.join(STAGES[asked.module])}"
        )
    measures = stage_of(asked.module, asked.backend).measures
    asked.only = asked.only or measures
    for name in asked.only:
        if name not in measures:
            what = "services" if asked.module == "services" else asked.backend
            parser.error(f"{name!r} is not measured on {what}; {', '.join(measures)} are")
    if asked.durability and (asked.module, asked.backend) != ("jobs", "local"):
        parser.error("--durability is of the local backend; a server has its own settings")
    return asked


def names(text: str) -> list[str]:
    """Split the value of --only."""
    return text.split(",")


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
    settings = Settings(
        folder=asked.folder,
        synchronous=asked.durability or "normal",
        peers=not asked.no_peers,
    )
    if asked.quick:
        settings = settings.quick()
    chosen: dict[str, Any] = {"queue_types": asked.queue_types, "rounds": asked.rounds}
    if asked.count:
        chosen |= {"count": asked.count, "many": 5 * asked.count}
    return replace(settings, **{name: value for name, value in chosen.items() if value})


def print_all(found: Found, note: str) -> None:
    """Print what a person reads."""
    print(", ".join(f"{name} {value}" for name, value in found.facts.items()))
    print(NOTE, note, sep="\n", end="\n\n")
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
