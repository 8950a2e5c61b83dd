"""The command line of the sample: its arguments, and what it refuses."""

import argparse
import fcntl
import hashlib
import os
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from indexing.report import shown
from mindtrace.core import get_config


class RefusedError(Exception):
    """What was asked for cannot be done; the text says why."""


class Command(NamedTuple):
    """What was asked for."""

    folder: Path
    without: frozenset[str]
    """Folders below it that are left out."""
    consumers: int
    state: Path
    """Where the run of this folder is kept."""
    json: Path | None
    keep: bool


def read_command(description: str | None) -> Command:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    library = Path(sysconfig.get_path("stdlib"))
    states = get_config().dir_paths.root / "index_files"
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument(
        "--consumers", type=_count, default=4, metavar="N", help="processes (4); 0 only publishes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there, too")
    parser.add_argument(
        "--state-dir", type=Path, default=states, metavar="DIR", help="where runs are kept"
    )
    parser.add_argument("--keep", action="store_true", help="keep the run when it is done")
    given = parser.parse_args()
    folder: Path = (given.folder or library).resolve()
    state: Path = given.state_dir.resolve() / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    without = {str(state)}
    if given.folder is None:  # what pip installed lies in the library's folder and is no part of it
        without.add(str(folder / "site-packages"))
    return Command(folder, frozenset(without), given.consumers, state, given.json, given.keep)


def _count(text: str) -> int:
    if (count := int(text)) < 0:
        raise ValueError
    return count


@contextmanager
def claimed(command: Command) -> Generator[None]:
    """Refuse what cannot be read or written; make the run's folder, and have it to ourselves."""
    try:
        os.scandir(command.folder).close()
        if command.json is not None:
            command.json.touch()
        command.state.mkdir(parents=True, exist_ok=True)
        lock = (command.state / "lock").open("w")
    except OSError as error:
        path = shown(str(error.filename))
        raise RefusedError(f"{path} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            folder = shown(str(command.folder))
            raise RefusedError(f"Another command is indexing {folder} now.") from error
        yield
