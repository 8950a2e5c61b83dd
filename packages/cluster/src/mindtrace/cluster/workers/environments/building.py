"""`Contained`: uv run like the command of a job, for it runs code of the project that it builds."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from mindtrace.cluster.git.environment import INSTALL_WITHIN, uv_settings, uv_variables
from mindtrace.cluster.git.program import GivenUpError
from mindtrace.cluster.run_script.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mindtrace.cluster.git.lock import Hold
    from mindtrace.cluster.run_script.process import Keepers, User
    from mindtrace.cluster.run_script.task import Control, Task

REACHABLE = 0o711
"""The mode of a folder in which another user may open what it knows by name."""

_MOST_SAID = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Contained:
    """Runs uv under a keeper, with the limits of a job, as the user of its command.

    What a build leaves running is ended with it. The environment is made by that user, and is taken
    from it when it is made, for later jobs of the user share it.

    Attributes:
        keepers: Run it.
        task: The job.
        control: Says when it is to end.
        temporary: A folder for as long as the job runs.
        cache: The folder in which environments are.
        user: As whom it runs; None for this one.
        variables: All that another user sees of ours.
    """

    keepers: Keepers
    task: Task
    control: Control
    temporary: Path
    cache: Path
    user: User | None
    variables: dict[str, str]

    @property
    def owner(self) -> int:
        """The user as whom it runs."""
        return os.geteuid() if self.user is None else self.user.uid

    def run(self, argv: list[str], cwd: Path, folder: Path, hold: Hold) -> tuple[int, str]:
        """Run uv; see `Installer`."""
        del hold  # a keeper ends it with this process
        user = self.user
        variables = uv_variables(folder) if user is None else self._of_another(folder, user)
        command = self.task.command(argv, cwd, variables, user)
        place = self.temporary / "uv"
        place.mkdir(exist_ok=True)
        with Output(place) as output:
            ended = self.keepers.run(command, output, self._why_stop(output))
        if user is not None:
            take(folder)
        if ended.limit in {"cancelled", "timeout"}:
            why = "it was stopped" if ended.limit == "cancelled" else "it took too long"
            raise GivenUpError(why)
        said = output.err.excerpt.text() or output.out.excerpt.text()
        if ended.limit is not None:
            said += f"\nit hit the limit of {ended.limit}"
        return ended.code or int(ended.limit is not None), said + (ended.problem or "")

    def _of_another(self, folder: Path, user: User) -> dict[str, str]:
        """Give another user the environment, and return what it sees."""
        own = self.cache / f"uv-{user.uid}"
        for each in (own, folder):
            each.mkdir(exist_ok=True)
        folder.parent.chmod(REACHABLE)
        os.chown(own, user.uid, user.gid)
        give(folder, user)
        # with copies, no file of an environment is one of the cache, which stays with the user
        ours = {"UV_CACHE_DIR": str(own), "UV_LINK_MODE": "copy"}
        return self.variables | uv_settings(folder) | ours

    def _why_stop(self, output: Output) -> Callable[[], str | None]:
        end = monotonic() + INSTALL_WITHIN

        def why() -> str | None:
            if self.control.is_set():
                return "cancelled"
            if output.size > _MOST_SAID:
                return "output"
            return "timeout" if monotonic() > end else None

        return why


def give(path: str | Path, user: User) -> None:
    """Give a user a folder with all that is in it, links not followed.

    From the bottom: as long as we are in a folder, nobody else can change what is in it.
    """
    for each in _within(path):
        give(each, user)
    os.chown(path, user.uid, user.gid, follow_symlinks=False)


def take(path: str | Path) -> None:
    """Take a folder back, to write to for us alone; from the top, for the same reason."""
    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
    mode = os.lstat(path).st_mode
    if not stat.S_ISLNK(mode):
        os.chmod(path, mode & 0o755)  # noqa: PTH101 - likewise
    for each in _within(path):
        take(each)


def _within(path: str | Path) -> list[str]:
    if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114 - called often
        return []
    with os.scandir(path) as entries:
        return [each.path for each in entries]
