"""What the numbers were measured on."""

import os
import platform
import tempfile
from pathlib import Path

import psutil

from tools.commands import run


def facts() -> dict[str, str | int | float]:
    """Return what a reader needs to know of the machine, by name."""
    return {
        "cores": _cores(),
        "load": round(psutil.getloadavg()[0], 2),
        "python": platform.python_version(),
        "revision": _revision(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def filesystem(folder: Path | None) -> str:
    """Return the type of the file system that a folder is on, or that of temporary files."""
    place = (folder or Path(tempfile.gettempdir())).resolve()
    found = [
        (len(each.mountpoint), each.fstype)
        for each in psutil.disk_partitions(all=True)
        if place.is_relative_to(each.mountpoint)
    ]
    return max(found)[1] if found else "unknown"


def _revision() -> str:
    """Name the commit that is measured; `-dirty` when files differ from it."""
    try:
        said = run("git", "describe", "--always", "--dirty")
    except OSError:
        return "unknown"
    return said.stdout.strip() or "unknown"
