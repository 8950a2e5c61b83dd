"""The folder of an embedded cluster, and how others find out whether they see the same one."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

from mindtrace.cluster.core.types import Mark
from mindtrace.cluster.errors import ClusterError, OtherMachineError
from mindtrace.services.urls import bare_host, port_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from pydantic import HttpUrl

    from mindtrace.cluster.settings import ClusterSettings
    from mindtrace.core.settings import Config


def folder_of(url: HttpUrl, settings: ClusterSettings, config: Config) -> Path:
    """Return the folder of the cluster whose manager is at a URL."""
    if settings.folder is not None:
        return settings.folder.expanduser().absolute()
    host = bare_host(url).replace(":", "-")
    return config.dir_paths.root.absolute() / "clusters" / f"{host}-{port_of(url)}"


def git_folder_of(settings: ClusterSettings, config: Config) -> Path:
    """Return where nodes and workers of this machine keep what they have from repositories."""
    return (settings.git_folder or config.dir_paths.root / "git").expanduser().absolute()


def prepared(folder: Path, owner: str, *, empty: bool) -> Mark:
    """Make a folder, and return what tells it from one of the same path on another machine.

    Args:
        folder: Where.
        owner: The id of the manager, the same in all its processes.
        empty: Set aside, under another name, what another manager left there.

    Raises:
        ClusterError: It cannot be written.
    """
    file = folder / "id"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if empty and folder.exists() and _read(file) != owner:
                folder.rename(folder.with_name(f"{folder.name}-until-{time_ns()}"))
            folder.mkdir(exist_ok=True, mode=0o700)
            if not file.exists():
                file.write_text(owner, encoding="ascii")
            return Mark(folder=str(folder), id=_read(file))
    except OSError as error:
        message = (
            f"the cluster's folder {folder} cannot be written ({error}): make it writable, or set "
            "MINDTRACE_CLUSTER__FOLDER to another one"
        )
        raise ClusterError(message) from error


def check_same(mark: Mark | None) -> None:
    """Return if a cluster keeps nothing in a folder, or in one that this process sees as well.

    Raises:
        OtherMachineError: it is on another machine, or belongs to another user.
    """
    if mark is not None and _read(Path(mark.folder) / "id") != mark.id:
        raise OtherMachineError(mark.folder)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock that a file stands for; nobody else on this machine has it meanwhile."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed
        yield
