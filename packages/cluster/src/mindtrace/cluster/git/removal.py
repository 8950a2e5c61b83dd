"""Removing folders, and those of a cache that were used longest ago."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mindtrace.cluster.git.lock import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, also where rights were taken away."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        _allow_all(folder)
        shutil.rmtree(folder)


def _allow_all(folder: Path) -> None:
    folder.chmod(0o700)
    for place, names, _ in os.walk(folder):
        for each in names:
            below = Path(place) / each
            if not below.is_symlink():
                below.chmod(0o700)


def remove_oldest(
    marks: Iterable[Path], *, keep: int, unless: Callable[[Path], bool] = lambda _: False
) -> None:
    """Remove the folders of a cache that were used longest ago, but for those that are held.

    Args:
        marks: A file in each folder, changed whenever the folder is used. Who uses the folder
            holds `<folder>.lock`.
        keep: How many folders stay.
        unless: Tells which folders stay in any case.
    """
    used = sorted((each.stat().st_mtime, each.parent) for each in marks)
    for _, folder in used[: max(0, len(used) - keep)]:
        hold = Hold.attempt(folder.with_suffix(".lock"))
        if hold is None:
            continue
        if unless(folder):
            hold.release()
        else:
            remove_folder(folder)
            hold.remove()
