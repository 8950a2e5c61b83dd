"""`Environment`: a virtual environment made by uv, which all share who need the same."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol, Self

from mindtrace.cluster.errors import DependenciesError
from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import GivenUpError, Patience, output_of
from mindtrace.cluster.git.removal import remove_folder, remove_oldest

if TYPE_CHECKING:
    from mindtrace.cluster.git.project import Project

KEPT = 30
"""Environments that are kept; those that were used longest ago are removed when there are more."""

INSTALL_WITHIN = 1800.0
"""Seconds that an installation may take."""

OURS = tuple(
    f"mindtrace-{each}"
    for each in ("cluster", "core", "jobs", "jobs-rabbitmq", "jobs-redis", "services")
)
"""What is not installed beside a node: a worker runs what its node runs."""

_MADE = "mindtrace-made"
_FORMAT = "1"
"""Another word when environments of before are not to be used any more."""

_LOOK_EVERY = 0.05
_SHOWN = 2000
_PASSWORD = re.compile(r"(?<=://)[^/\s@]+@")
_OF_ANOTHER = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON"})


class Installer(Protocol):
    """Runs uv, which runs code of a project when it builds it."""

    @property
    def owner(self) -> int:
        """The user as whom uv runs; environments are not shared with those of another one."""
        ...

    def run(self, argv: list[str], cwd: Path, folder: Path, hold: Hold) -> tuple[int, str]:
        """Run uv, and return its exit code and what it said.

        Args:
            argv: The program, and its arguments.
            cwd: Where it works.
            folder: The environment, which it makes or changes.
            hold: Keeps others away; what may outlive this process has to have it.

        Raises:
            GivenUpError: It took too long, or was to be stopped.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trusting:
    """Runs uv as any program, for projects whose code is trusted."""

    patience: Patience

    @property
    def owner(self) -> int:
        """This user."""
        return os.geteuid()

    def run(self, argv: list[str], cwd: Path, folder: Path, hold: Hold) -> tuple[int, str]:
        """Run uv; see `Installer`."""
        process = subprocess.Popen(  # noqa: S603 - uv, which is told what is in files alone
            argv,
            cwd=cwd,
            env=uv_variables(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # it is held for as long as uv runs, be this process killed
            pass_fds=[hold.descriptor],
        )
        output, errors = output_of(process, self.patience)
        return process.returncode, errors or output


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that is in use until it is closed. Do not change what is in it.

    Attributes:
        folder: Where it is.
    """

    folder: Path
    _hold: Hold

    @classmethod
    def make(
        cls,
        project: Project | None,
        cache: Path,
        *,
        beside_node: bool,
        stop: Event | None = None,
        installer: Installer | None = None,
    ) -> Self:
        """Return an environment with what a project needs; one that was made before if there is.

        It is of the version of Python that this process runs. What a project does not lock is
        looked up when the environment is made, and stays so.

        Args:
            project: What it is for; None for one with nothing in it.
            cache: The folder for environments, which threads and processes may share.
            beside_node: Find what it lacks where this process finds it, the packages of Mindtrace
                always. Else there is only what the project declares.
            stop: Makes it give up at once.
            installer: Runs uv; unless given, as any program.

        Raises:
            DependenciesError: uv says no.
            ImportError: There is no uv.
        """
        patience = Patience(INSTALL_WITHIN, stop or Event())
        installer = installer or Trusting(patience)
        key = _key(project, installer.owner, beside_node=beside_node)
        folder = cache / "environments" / key
        lock = folder.with_suffix(".lock")
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_oldest(folder.parent.glob(f"*/{_MADE}"), keep=KEPT)
        end = patience.ends()
        while True:
            # never waiting for one of the two: whoever has made it holds it for long
            hold = Hold.attempt(lock, shared=True)
            if hold is not None and (folder / _MADE).exists():
                (folder / _MADE).touch()
                return cls(folder, hold)
            if hold is not None:
                hold.release()
                alone = Hold.attempt(lock)
                if alone is not None:
                    with alone:
                        _build(folder, project, alone, installer, beside_node=beside_node)
                    continue
            try:
                patience.check(end)
            except GivenUpError as error:
                raise _error(project, f"{error}, waiting for somebody who makes it") from None
            patience.stop.wait(_LOOK_EVERY)

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def close(self) -> None:
        """Use it no longer."""
        self._hold.release()


def uv() -> str:
    """Return where uv is: on the path, else in the package.

    Raises:
        ImportError: Nowhere.
    """
    found = shutil.which("uv")
    if found is not None:
        return found
    try:
        import uv as package  # noqa: PLC0415 - of an extra
    except ImportError as error:
        message = "uv is not installed: pip install 'mindtrace-cluster[git]', or put it on PATH"
        raise ImportError(message) from error
    return package.find_uv_bin()


def _key(project: Project | None, owner: int, *, beside_node: bool) -> str:
    ours = [*OURS, *_paths()] if beside_node else []
    identity = project.identity if project else ()
    facts = [_FORMAT, sys.version, sys.base_prefix, owner, beside_node, ours, identity]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _paths() -> list[str]:
    """Return where this process finds its imports."""
    # a line break would be the end of a line in the file that names them
    return [each for each in sys.path if each.isprintable() and Path(each).is_absolute()]


def _build(
    folder: Path, project: Project | None, hold: Hold, installer: Installer, *, beside_node: bool
) -> None:
    if (folder / _MADE).exists():  # by somebody who was faster
        return
    remove_folder(folder)

    def run(*words: str, cwd: Path) -> None:
        try:
            code, said = installer.run([uv(), *words], cwd, folder, hold)
        except GivenUpError as error:
            raise _error(project, f"{error}") from None
        if code != 0:
            said = _PASSWORD.sub("", said.strip())[-_SHOWN:]
            raise _error(project, f"uv says:\n{said}")

    run("venv", "--quiet", "--no-project", "--python", sys.executable, str(folder), cwd=Path("/"))
    if project is not None:
        run(*_words(project, folder, beside_node=beside_node), cwd=project.folder)
    if beside_node:
        (packages,) = folder.glob("lib/*/site-packages")
        # by its name the last of its kind: what is installed here is found first
        (packages / "zzz-mindtrace-node.pth").write_text("\n".join(_paths()), "utf-8")
    (folder / _MADE).touch()


def _words(project: Project, folder: Path, *, beside_node: bool) -> list[str]:
    python = str(folder / "bin" / "python")
    if project.kind == "locked":
        words = ["sync", "--frozen", "--no-dev", "--no-editable", "--python", python]
        left_out = OURS if beside_node else ()
        return [*words, *(f"--no-install-package={each}" for each in left_out)]
    what = {"requirements": ["-r", "requirements.txt"], "project": ["-r", "pyproject.toml"]}
    words = ["pip", "install", "--python", python]
    words += ["."] if project.is_package else what[project.kind]
    if beside_node:
        never = folder / "mindtrace-overrides.txt"
        never.write_text("".join(f"{each}; sys_platform == 'never'\n" for each in OURS), "utf-8")
        words += ["--override", str(never)]
    return words


def uv_settings(folder: Path) -> dict[str, str]:
    """Return what tells uv how to work, and on which environment."""
    return {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_PROJECT_ENVIRONMENT": str(folder),
        "NO_COLOR": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
    }


def uv_variables(folder: Path) -> dict[str, str]:
    """Return `uv_settings`, and those of our variables that are no secrets of Mindtrace."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_ANOTHER
        and not name.upper().startswith("MINDTRACE_")
        and name != "GIT_FINE_GRAINED_TOKEN"
    }
    return ours | uv_settings(folder)


def _error(project: Project | None, problem: str) -> DependenciesError:
    return DependenciesError(project.name if project else "a checkout", problem)
