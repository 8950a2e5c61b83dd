"""`GitEnvironment`: a command in a checkout of its own.

No boundary is drawn here: the command can do what its user can.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.git.checkout import Checkout
from mindtrace.cluster.git.environment import Environment
from mindtrace.cluster.git.project import Project
from mindtrace.cluster.git.source import Source
from mindtrace.cluster.run_script.process import User
from mindtrace.cluster.run_script.task import Ran
from mindtrace.cluster.workers.environments.building import REACHABLE, Contained, give

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mindtrace.cluster.git.access import Access
    from mindtrace.cluster.run_script.output import Output
    from mindtrace.cluster.run_script.process import Keepers
    from mindtrace.cluster.run_script.task import Control, Task
    from mindtrace.cluster.run_script.types import GitSpec

USUAL = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
    }
)
"""The variables of the worker that a command sees, beside `PATH` and those of the locale."""


class GitEnvironment:
    """Runs commands in worktrees of a clone that all jobs share, each in one of its own.

    `python` is that of the environment which uv makes for the project of the checkout; where it
    declares nothing, it is that of the worker.

    Args:
        spec: The repository, and what of it.
        cache: The folder for clones, checkouts and environments.
        access: What git may use.
        keepers: Run the commands.
        pass_variables: Variables of the worker that commands see beside `USUAL`.
        run_as: The name of the user as whom they run, if this process may choose.

    Raises:
        InvalidSourceError: It is none, or not safe to be handed to git.
    """

    def __init__(
        self,
        spec: GitSpec,
        cache: Path,
        access: Access,
        keepers: Keepers,
        *,
        pass_variables: Iterable[str] = (),
        run_as: str | None = None,
    ) -> None:
        self._source = Source.said(
            spec.repo_url, spec.branch, spec.commit, spec.working_dir, spec.project
        )
        self._cache = cache
        self._access = access
        self._keepers = keepers
        self._passed = USUAL.union(pass_variables)
        self._run_as = run_as

    def run(self, task: Task, output: Output, control: Control, temporary: Path) -> Ran:
        """Check out, run a command there, and remove the checkout.

        Raises:
            RunScriptError: A limit cannot be kept here, or `run_as` cannot be had.
            ClusterError: It cannot be checked out, or its dependencies cannot be installed.
            ImportError: GitPython, git or uv is missing.
        """
        if task.limits.cpus is not None:
            problem = "limits.cpus is kept in containers alone; leave it out for a Git job"
            raise RunScriptError(problem)
        with ExitStack() as stack:
            checkout = stack.enter_context(
                Checkout.make(self._source, self._cache, self._access, control)
            )
            project = Project.of(checkout, self._source)
            user = None if self._run_as is None else self._user(self._run_as)
            if user is not None:
                self._hand_over(checkout, temporary, user)
            environment = None
            if project is not None:
                building = Contained(
                    self._keepers,
                    task,
                    control,
                    temporary,
                    self._cache,
                    user,
                    self._variables(None, temporary, user),
                )
                environment = Environment.make(
                    project, self._cache, beside_node=False, stop=control, installer=building
                )
                stack.callback(environment.close)
            variables = self._variables(environment, temporary, user)
            command = task.command(task.argv, checkout.folder, variables | task.env, user)
            why_stop = control.why_stop(output, task.timeout)
            return Ran(self._keepers.run(command, output, why_stop), commit=checkout.commit)

    def _variables(
        self, environment: Environment | None, temporary: Path, user: User | None
    ) -> dict[str, str]:
        python = Path(sys.executable) if environment is None else environment.python
        places = [str(python.parent), os.environ.get("PATH", os.defpath)]
        if not (python.parent / "python").exists():
            places.insert(0, str(_named_python(python, temporary)))
        variables = {
            name: value
            for name, value in os.environ.items()
            if name in self._passed or name.startswith("LC_")
        }
        if environment is not None:
            variables["VIRTUAL_ENV"] = str(environment.folder)
        if user is not None:
            found = pwd.getpwuid(user.uid)
            variables |= {"HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name}
        return variables | {
            "PATH": os.pathsep.join(places),
            "TMPDIR": str(temporary),
            # what it says is read while it runs
            "PYTHONUNBUFFERED": "1",
        }

    def _user(self, name: str) -> User:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            problem = f"MINDTRACE_RUN_SCRIPT__RUN_AS names no user of this machine: {name}"
            raise RunScriptError(problem) from None
        return User(found.pw_uid, found.pw_gid, tuple(os.getgrouplist(name, found.pw_gid)))

    def _hand_over(self, checkout: Checkout, temporary: Path, user: User) -> None:
        """Give another user what the command works with."""
        try:
            for top in (checkout.root, temporary):
                give(top, user)
            for each in (self._cache, checkout.root.parent):
                each.chmod(REACHABLE)
        except PermissionError:
            problem = f"this worker may not run anything as {self._run_as}; run it as root"
            raise RunScriptError(problem) from None


def _named_python(python: Path, temporary: Path) -> Path:
    """Return a folder in which `python` is an interpreter that is called otherwise."""
    folder = temporary / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "python"
    # a link would not be known to belong to its virtual environment
    script.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n', "utf-8")
    script.chmod(0o755)
    return folder
