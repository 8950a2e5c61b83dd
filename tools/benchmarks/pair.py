"""Ours and the floor, opened side by side."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import NamedTuple

from tools.benchmarks.floor import Floor
from tools.benchmarks.ours import Ours
from tools.benchmarks.settings import Settings


class Pair(NamedTuple):
    """The two, and what a child process needs to open the same files."""

    ours: Ours
    floor: Floor
    place: tuple[str, str]


@contextmanager
def both(settings: Settings) -> Generator[Pair]:
    """Open both in a new folder."""
    with (
        settings.new_folder() as folder,
        closing(Ours(folder, settings.synchronous)) as ours,
        closing(Floor(folder, settings.synchronous)) as floor,
    ):
        yield Pair(ours, floor, (str(folder), settings.synchronous))
