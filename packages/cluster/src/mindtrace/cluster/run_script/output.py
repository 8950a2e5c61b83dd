"""What a command writes: masked, whole in files, and its beginning and end in memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MASK = b"***"
_SHORTEST = 4
"""Bytes of the shortest secret that is masked: a shorter one is found in everything."""


class Masker:
    """Replaces secrets in bytes that come in pieces, wherever the pieces end.

    What is written with a delay is only what may be the beginning of a secret.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {each.encode() for each in secrets}
        # lines of a secret are secret as well; the longest first, for one may hold another
        found |= {line for each in found for line in each.splitlines()}
        self._secrets = sorted((s for s in found if len(s) >= _SHORTEST), key=len, reverse=True)
        self._any = re.compile(b"|".join(map(re.escape, self._secrets)))
        self._kept = b""

    def masked(self, data: bytes) -> bytes:
        """Return what can be told of all that came so far and was not told yet."""
        if not self._secrets:
            return data
        data = self._kept + data
        end = len(data) - max(_overlap(data, each) for each in self._secrets)
        told = bytearray()
        at = 0
        for found in self._any.finditer(data):
            if found.start() >= end:
                break
            told += data[at : found.start()] + MASK
            at = found.end()
        end = max(at, end)
        self._kept = data[end:]
        return bytes(told) + data[at:end]

    def rest(self) -> bytes:
        """Return what was kept, when nothing follows."""
        rest, self._kept = self._kept, b""
        return self._any.sub(MASK, rest) if self._secrets else rest


def _overlap(data: bytes, secret: bytes) -> int:
    """Return how many bytes at the end of the data are the beginning of a secret."""
    for length in range(min(len(data), len(secret) - 1), 0, -1):
        if data.endswith(secret[:length]):
            return length
    return 0


class Excerpt:
    """Holds the beginning and the end of what may be long; never more than about twice `limit`."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit // 4
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take what comes next."""
        self.size += len(data)
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:][-self._tail_limit or len(data) :]
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit or None]

    def text(self, limit: int | None = None) -> str:
        """Return it, in at most so many bytes of UTF-8 besides what says how many are left out."""
        head = bytes(self._head)
        tail = bytes(self._tail[-self._tail_limit :]) if self._tail_limit else b""
        if limit is not None:
            head, tail = head[: limit // 4], tail[max(0, len(tail) - (limit - limit // 4)) :]
        left_out = self.size - len(head) - len(tail)
        if left_out <= 0:
            return (head + tail).decode("utf-8", "replace")
        between = f"\n... {left_out} bytes left out ...\n"
        return head.decode("utf-8", "replace") + between + tail.decode("utf-8", "replace")


class Stream:
    """One output stream: the file with all of it, and an excerpt."""

    def __init__(self, path: Path, secrets: Iterable[str], shown: int) -> None:
        self.path = path
        self.excerpt = Excerpt(shown)
        self.lines = 0
        self._masker = Masker(secrets)
        # whoever reads the file meanwhile sees all that was written
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Take what the command wrote."""
        self._keep(self._masker.masked(data))

    def close(self) -> None:
        """Nothing follows."""
        if not self._file.closed:
            self._keep(self._masker.rest())
            self._file.close()

    def _keep(self, data: bytes) -> None:
        if data:
            self.lines += data.count(b"\n")
            self.excerpt.add(data)
            view = memoryview(data)
            while view:  # an unbuffered file may take less
                view = view[self._file.write(view) :]


class Output:
    """Both streams of a command; files `stdout` and `stderr` in a folder."""

    def __init__(self, folder: Path, secrets: Iterable[str] = (), shown: int = 16 * 1024) -> None:
        secrets = tuple(secrets)
        self.out = Stream(folder / "stdout", secrets, shown)
        self.err = Stream(folder / "stderr", secrets, shown)

    @property
    def size(self) -> int:
        """Bytes of both."""
        return self.out.excerpt.size + self.err.excerpt.size

    @property
    def lines(self) -> int:
        """Lines of both."""
        return self.out.lines + self.err.lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.out.close()
        self.err.close()
