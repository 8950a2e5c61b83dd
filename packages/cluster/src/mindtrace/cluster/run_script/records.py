"""The folders in which the output of commands is kept, and what they need while they run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import Patience
from mindtrace.cluster.git.removal import remove_folder, remove_oldest

if TYPE_CHECKING:
    from pathlib import Path

TEMPORARY = "tmp"
"""The folder in that of a run for what it needs meanwhile."""

_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,99}")
_HELD_WITHIN = 60.0
_FILES = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Record:
    """The folder of one run; a context manager, after which only the output is left.

    Attributes:
        folder: Where `stdout` and `stderr` are.
    """

    folder: Path
    _hold: Hold

    @property
    def temporary(self) -> Path:
        """The folder for what the command needs while it runs."""
        return self.folder / TEMPORARY

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        remove_folder(self.temporary)
        self._hold.remove()


class Records:
    """The records of workers; several workers may share a folder.

    Args:
        folder: Where they are.
        keep: How many are kept.
        size: How many bytes they may have together.
    """

    def __init__(self, folder: Path, *, keep: int, size: int) -> None:
        self._folder = folder
        self._keep = keep
        self._size = size

    def new(self, job_id: str | None) -> Record:
        """Return the record of a run that begins."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.sweep()
        name = f"{job_id}@" if job_id and _NAME.fullmatch(job_id) else ""
        folder = self._folder / f"{name}{uuid4().hex}"
        # not at once: somebody who sweeps looks at any that is there
        hold = Hold.wait(self._lock(folder), Patience(_HELD_WITHIN))
        record = Record(folder, hold)
        folder.mkdir(mode=0o711)
        record.temporary.mkdir(mode=0o711)
        for each in _FILES:
            (folder / each).touch(mode=0o600)
        return record

    def find(self, job_id: str) -> Path | None:
        """Return the folder of the last run of a job; None if there is none any more."""
        if not _NAME.fullmatch(job_id):
            return None
        found = [each for each in self._folder.glob(f"{job_id}@*") if each.is_dir()]
        return max(found, key=lambda each: each.stat().st_mtime, default=None)

    def is_running(self, folder: Path) -> bool:
        """Tell whether a record is still written to."""
        return self._lock(folder).exists()

    def sweep(self) -> None:
        """Remove what killed workers left behind, and the oldest records that are too many.

        If somebody else is doing so, that is enough.
        """
        alone = Hold.attempt(self._folder / "sweeping")
        if alone is None:
            return
        with alone:
            for each in self._folder.glob("*.lock"):
                hold = Hold.attempt(each)
                if hold is not None:
                    with Record(each.with_suffix(""), hold):
                        pass
            remove_oldest(self._folder.glob("*/stdout"), keep=self._kept())

    def _kept(self) -> int:
        """Return how many of the newest have room."""
        folders = [each.parent for each in self._folder.glob("*/stdout")]
        folders.sort(key=lambda each: each.stat().st_mtime, reverse=True)
        room = self._size
        for number, folder in enumerate(folders[: self._keep]):
            room -= sum(each.stat().st_size for each in folder.iterdir() if each.name in _FILES)
            if room < 0:
                return number
        return self._keep

    @staticmethod
    def _lock(folder: Path) -> Path:
        return folder.with_suffix(".lock")
