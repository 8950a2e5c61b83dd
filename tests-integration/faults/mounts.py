"""A small disk of one's own: a tmpfs, which only root may mount."""

import errno
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tools.services.docker import may_run


class SmallDisk:
    """A few megabytes that can be filled to the last byte, freed, and made read-only."""

    def __init__(self, path: Path, megabytes: int = 4) -> None:
        self.path = path
        self._megabytes = megabytes
        self._mounted = False

    def __enter__(self) -> Self:
        self.path.mkdir()
        if not may_run():
            pytest.skip("not run: only root, with the right to do so, can mount a small disk")
        options = f"size={self._megabytes}m"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        subprocess.run(command, check=True)
        self._mounted = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._mounted:
            # lazily: this process keeps the file of kernel locks open for as long as it lives
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    @property
    def free(self) -> int:
        """Bytes that are left."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Take all the room that is left."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        assert self.free == 0

    def release(self) -> None:
        """Give the room back."""
        (self.path / "filler").unlink()

    def make_read_only(self) -> None:
        """Refuse writing from now on."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)
