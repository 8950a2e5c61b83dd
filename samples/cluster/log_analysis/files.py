"""Finding files, whatever their names are made of, and dealing them out in batches."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

MOST_FILES = 1000


class Found(NamedTuple):
    """A file, and its size in bytes."""

    path: str
    size: int


class Batch(NamedTuple):
    """The files of one job."""

    files: list[str]
    size: int


def regular_files(folder: str, unreadable: Callable[[OSError], object]) -> Iterator[Found]:
    """Find the regular files below a folder; what pip installed there is left out."""
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError as error:
            unreadable(error)
            continue
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield Found(entry.path, entry.stat(follow_symlinks=False).st_size)
            elif entry.is_dir(follow_symlinks=False) and entry.name != "site-packages":
                waiting.append(entry.path)


def batches(files: Iterable[Found], size: int) -> Iterator[Batch]:
    """Deal files out: each batch has about that many bytes, or one file that has more."""
    names: list[str] = []
    held = 0
    for path, more in files:
        if names and (held + more > size or len(names) == MOST_FILES):
            yield Batch(names, held)
            names, held = [], 0
        names.append(encoded(path))
        held += more
    if names:
        yield Batch(names, held)


def encoded(path: str) -> str:
    """Return a path as plain ASCII, for JSON holds only Unicode."""
    return quote_from_bytes(os.fsencode(path))


def decoded(text: str) -> str:
    """Return the path that was encoded."""
    return os.fsdecode(unquote_to_bytes(text))
