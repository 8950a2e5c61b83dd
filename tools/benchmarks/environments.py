"""Environments of their own for other libraries, made by uv and never part of the workspace."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tools.benchmarks.settings import SkippedError
from tools.commands import run, uv


def new_environment(folder: Path, packages: Sequence[str]) -> str:
    """Install packages into a new environment in a folder; return its Python.

    Raises:
        SkippedError: they cannot be installed; the text says why.
    """
    python = folder / "bin" / "python"
    _uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--quiet", "--python", str(python), *packages)
    return str(python)


def _uv(*words: str) -> None:
    try:
        done = run(uv(), *words)
    except OSError as error:
        raise SkippedError(f"uv cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or "uv said nothing"
        raise SkippedError(f"cannot be installed: {said}")
