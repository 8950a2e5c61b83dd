"""Build a wheel of each package and install it alone, as a user would: `ds check --packaging`.

Wheels are installed by file, all they need of ours together. By name, the index would be asked, and
it has other releases under the same names; hence the versions are compared as well.
"""

import email
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from tools import commands

PROBE = """
import importlib, importlib.metadata, sys
name, version, module = sys.argv[1:]
found = importlib.metadata.version(name)
assert found == version, f"{name}: {found} is installed, not our {version}"
place = importlib.import_module(module).__file__
assert place.startswith(sys.prefix), f"{module} came from {place}"
"""


class Built(NamedTuple):
    """What a wheel says about itself."""

    name: str
    version: str
    module: str
    needs: frozenset[str]
    path: Path


def main() -> None:
    """Build, look inside, install and import each package."""
    with tempfile.TemporaryDirectory(prefix="mindtrace-packaging-") as folder:
        wheels = build(Path(folder) / "dist")
        for name in wheels:
            try_out(needed_by(name, wheels), Path(folder) / name)
            print(f"{name} {wheels[name].version}: installs and imports from its wheel")


def build(folder: Path) -> dict[str, Built]:
    """Build all packages, each wheel from its source distribution, and read the wheels."""
    call(commands.uv(), "build", "--quiet", "--all-packages", "--out-dir", str(folder))
    built = [read(path) for path in sorted(folder.glob("*.whl"))]
    packages = list(commands.ROOT.glob("packages/*/pyproject.toml"))
    require(len(built) == len(packages), f"{len(packages)} packages gave {len(built)} wheels")
    return {wheel.name: wheel for wheel in built}


def read(path: Path) -> Built:
    """Read a wheel, and insist on what each of ours must hold."""
    with zipfile.ZipFile(path) as wheel:
        files = wheel.namelist()
        about = next(file for file in files if file.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(about))
    typed = [file for file in files if file.endswith("/py.typed")]
    require(len(typed) == 1, f"{path.name} must hold one py.typed, not {len(typed)}")
    require("mindtrace/__init__.py" not in files, f"{path.name} would hide the other packages")
    require(any(file.endswith("/LICENSE") for file in files), f"{path.name} has no licence")
    required = [str(line) for line in metadata.get_all("Requires-Dist", [])]
    return Built(
        name=str(metadata["Name"]),
        version=str(metadata["Version"]),
        module=typed[0].removesuffix("/py.typed").replace("/", "."),
        needs=frozenset(re.split(r"[^\w-]", line)[0] for line in required if "extra" not in line),
        path=path,
    )


def needed_by(name: str, wheels: dict[str, Built]) -> dict[str, Built]:
    """Collect a package and those of ours that it needs, directly or not."""
    found = {name: wheels[name]}
    for other in wheels[name].needs & wheels.keys():
        found |= needed_by(other, wheels)
    return found


def try_out(wheels: dict[str, Built], folder: Path) -> None:
    """Install wheels into an empty environment and import them there."""
    python = str(folder / "bin" / "python")
    files = [str(wheel.path) for wheel in wheels.values()]
    call(commands.uv(), "venv", "--quiet", "--python", sys.executable, str(folder))
    call(commands.uv(), "pip", "install", "--quiet", "--python", python, *files)
    for wheel in wheels.values():
        call(python, "-I", "-W", "error", "-c", PROBE, wheel.name, wheel.version, wheel.module)


def call(*command: str) -> None:
    """Run a command that must succeed."""
    done = commands.run(*command)
    require(done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it reads like assert
    """End with a sentence unless something holds."""
    if not holds:
        sys.exit(otherwise)


if __name__ == "__main__":
    main()
