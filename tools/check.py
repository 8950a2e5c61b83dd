"""Check what needs no test run: `ds check`; with `--fix`, repair what can be (`ds fmt`).

Steps run side by side. Each prints one line, and its output only if it fails. `--packaging` also
builds the wheels and installs each into an empty environment.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from tools import commands


class Step(NamedTuple):
    """One check: a name and the command that fails if it does not hold."""

    name: str
    command: list[str]


def main() -> int:
    """Run the steps; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="ds check:", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="repair what ruff can repair")
    parser.add_argument("--packaging", action="store_true", help="also try out the wheels")
    asked = parser.parse_args()
    if asked.fix:
        # One after the other: they change the same files.
        failed = [step.name for step in repairs() if not passes(step)]
    else:
        failed = run_all([*steps(), *(packaging() if asked.packaging else ())])
    print(f"failed: {', '.join(failed)}" if failed else "all is well")
    return 1 if failed else 0


def steps() -> Iterator[Step]:
    """List the checks, the slowest first."""
    yield Step("types (pyright)", [tool("pyright"), "--project", "pyproject.toml"])
    yield Step("types (mypy)", [tool("mypy")])
    yield Step("lint", [tool("ruff"), "check", "--quiet"])
    yield Step("format", [tool("ruff"), "format", "--check", "--quiet"])
    yield Step("imports", [tool("lint-imports")])
    yield Step("spelling", [tool("typos")])
    yield Step("lock", [commands.uv(), "lock", "--check"])
    if composes():
        yield Step("compose file", ["docker", "compose", "config", "--quiet"])
    else:
        print("left out: compose file, there is no `docker compose` here")


def repairs() -> Iterator[Step]:
    """List the steps that change files."""
    yield Step("lint", [tool("ruff"), "check", "--fix-only", "--quiet"])
    yield Step("format", [tool("ruff"), "format", "--quiet"])


def packaging() -> Iterator[Step]:
    """List the steps that take longer."""
    yield Step("packaging", [sys.executable, "-m", "tools.packaging_check"])


def tool(name: str) -> str:
    """Find a tool beside the running Python."""
    return str(Path(sys.executable).parent / name)


def composes() -> bool:
    """Tell whether Docker is here with its plugin for compose files; an engine is not needed."""
    if shutil.which("docker") is None:
        return False
    return commands.run("docker", "compose", "version").returncode == 0


def run_all(steps: Iterable[Step]) -> list[str]:
    """Run the steps side by side and name those that fail."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(passes, step): step.name for step in steps}
        return [running[done] for done in as_completed(running) if not done.result()]


def passes(step: Step) -> bool:
    """Run one step and tell how it ended."""
    began = time.monotonic()
    done = commands.run(*step.command)
    passed = done.returncode == 0
    line = f"{'ok  ' if passed else 'FAIL'} {step.name:<16}{time.monotonic() - began:6.1f} s\n"
    # One write, so that the output of steps that end together stays whole.
    sys.stdout.write(line if passed else f"{line}{done.stdout}{done.stderr}")
    sys.stdout.flush()
    return passed


if __name__ == "__main__":
    sys.exit(main())
