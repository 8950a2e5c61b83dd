"""How tools find and run programs. Standard library only: `dev.py` uses it before all else."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_HOME = ROOT / ".uv"


def uv() -> str:
    """Name the uv that started us, else one on PATH, else the one that `dev.py` brought."""
    return os.environ.get("UV") or shutil.which("uv") or str(UV_HOME / "bin" / "uv")


def run(*command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command at the root of the checkout, without a terminal, and keep what it says."""
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
