"""Finding and measuring files: whatever their names are made of, and without waiting for a pipe."""

import hashlib
import os
import stat
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel

PIECE = 1 << 20


class Facts(BaseModel):
    """What there is to know of one file, counted in bytes as `wc` does."""

    sha256: str
    size: int
    lines: int
    words: int


def regular_files(
    folder: Path, *, without: Container[str], unreadable: Callable[[OSError], object]
) -> Iterator[str]:
    """Find the regular files below a folder: no links, pipes, sockets or devices."""
    waiting = [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError as error:
            unreadable(error)
            continue
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.path
            elif entry.is_dir(follow_symlinks=False) and entry.path not in without:
                waiting.append(entry.path)


def measure(path: str) -> Facts:
    """Read a file once, piece by piece.

    Raises:
        OSError: It cannot be read, or is not a regular file any more.
    """
    digest, size, lines, words, inside = hashlib.sha256(), 0, 0, 0, False
    with open(path, "rb", buffering=0, opener=_open_regular) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
            lines += piece.count(b"\n")
            # a word may have begun in the piece before
            words += len(piece.split()) - (inside and not piece[:1].isspace())
            inside = not piece[-1:].isspace()
    return Facts(sha256=digest.hexdigest(), size=size, lines=lines, words=words)


def _open_regular(path: str, flags: int) -> int:
    """Open without waiting: a file may have become a pipe since it was found."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(0, "Not a regular file any more", path)


def encoded(path: str) -> str:
    """Return a path as plain ASCII, whatever bytes it is made of, for JSON holds only Unicode."""
    return quote_from_bytes(os.fsencode(path))


def decoded(text: str) -> str:
    """Return the path that was encoded."""
    return os.fsdecode(unquote_to_bytes(text))
