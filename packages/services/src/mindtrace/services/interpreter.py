"""`Interpreter`: another Python, and the folder that a launched service works in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mindtrace.core.settings import DirPaths, dotenv, get_config


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python other than the one that runs this, such as that of a virtual environment.

    It has to be of the same version. What it finds by itself is imported, and before that what is
    in the folder.

    Attributes:
        executable: Its path.
        folder: The folder that it works in.
    """

    executable: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return the variables for it: ours, but for those that belong to our interpreter.

        The settings mean the same in its folder as in ours: those of our `.env` are among the
        variables, and the folders of Mindtrace are absolute.
        """
        home = Path(self.executable).parent
        variables = {name: value for name, value in os.environ.items() if name not in _OURS}
        paths = get_config().dir_paths
        folders = {
            f"MINDTRACE_DIR_PATHS__{name.upper()}": str(getattr(paths, name).absolute())
            for name in DirPaths.model_fields
        }
        return {
            **dotenv(),
            **variables,
            **folders,
            "VIRTUAL_ENV": str(home.parent),
            "PATH": os.pathsep.join([str(home), os.environ.get("PATH", os.defpath)]),
        }


_OURS = frozenset({"PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"})
