"""Build a wheel of each package and install it as a user would: `ds check --packaging`.

Each alone, all side by side, and by the extras of mindtrace-jobs. Wheels are installed by file, all
they need of ours together. By name, the index would be asked, and it has other releases under the
same names; hence the versions are compared as well.
"""

import configparser
import email
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tools import commands

BACKENDS = "mindtrace.jobs.backends"
PROBE = """
import importlib, importlib.metadata, json, sys
installed, absent, clients, pip_lines = json.loads(sys.argv[1])
for name, (version, module) in installed.items():
    found = importlib.metadata.version(name)
    assert found == version, f"{name}: {found} is installed, not our {version}"
    place = importlib.import_module(module).__file__
    assert place.startswith(sys.prefix), f"{module} came from {place}"
for name in absent:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
    raise AssertionError(f"{name} came along, though nothing needs it")
for client in clients:
    assert getattr(importlib.import_module("mindtrace.jobs"), client).__name__ == client
for client, line in pip_lines.items():
    try:
        getattr(importlib.import_module("mindtrace.jobs"), client)
    except ImportError as error:
        assert line in str(error), f"{client} says: {error}"
    else:
        raise AssertionError(f"{client} is there without its package")
"""


@dataclass(frozen=True)
class Built:
    """What a wheel says about itself."""

    name: str
    version: str
    module: str
    needs: frozenset[str]
    clients: dict[str, str]
    """Client classes of job backends, by the name of the backend."""
    path: Path


def main() -> None:
    """Build, look inside, install and import each package."""
    with tempfile.TemporaryDirectory(prefix="mindtrace-packaging-") as folder:
        wheels = build(Path(folder) / "dist")
        for name in wheels:
            files = [str(wheels[each].path) for each in needed_by(name, wheels)]
            try_out(files, needed_by(name, wheels), wheels, Path(folder) / name)
            print(f"{name} {wheels[name].version}: installs and imports from its wheel")
        everything = [str(wheel.path) for wheel in wheels.values()]
        try_out(everything, set(wheels), wheels, Path(folder) / "all")
        print(f"{len(wheels)} packages: install and import side by side")
        for extra, package in extras(wheels).items():
            words = by_extra(extra, wheels, Path(folder))
            try_out(words, needed_by(package, wheels), wheels, Path(folder) / extra)
            print(f"mindtrace-jobs[{extra}]: brings {package}")


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
        entries = next((f for f in files if f.endswith(".dist-info/entry_points.txt")), None)
        points = configparser.ConfigParser(delimiters=["="])
        points.read_string(wheel.read(entries).decode() if entries else "")
    typed = [file for file in files if file.endswith("/py.typed")]
    require(len(typed) == 1, f"{path.name} must hold one py.typed, not {len(typed)}")
    require("mindtrace/__init__.py" not in files, f"{path.name} would hide the other packages")
    require(any(file.endswith("/LICENSE") for file in files), f"{path.name} has no licence")
    lost = sources(str(metadata["Name"])) - set(files)
    require(not lost, f"{path.name} lacks {', '.join(sorted(lost))}")
    required = [str(line) for line in metadata.get_all("Requires-Dist", [])]
    clients = dict(points[BACKENDS]) if points.has_section(BACKENDS) else {}
    return Built(
        name=str(metadata["Name"]),
        version=str(metadata["Version"]),
        module=typed[0].removesuffix("/py.typed").replace("/", "."),
        needs=frozenset(re.split(r"[^\w-]", line)[0] for line in required if "extra" not in line),
        clients={name: place.partition(":")[2] for name, place in clients.items()},
        path=path,
    )


def sources(name: str) -> set[str]:
    """Name the files of a package that its users need: code, scripts, markers."""
    folder = commands.ROOT / "packages" / name.removeprefix("mindtrace-") / "src"
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in files if path.suffix != ".pyc"}


def needed_by(name: str, wheels: dict[str, Built]) -> set[str]:
    """Name a package and those of ours that it needs, directly or not."""
    found = {name}
    for other in wheels[name].needs & wheels.keys():
        found |= needed_by(other, wheels)
    return found


def extras(wheels: dict[str, Built]) -> dict[str, str]:
    """Name the backends that mindtrace-jobs does not hold itself, and their packages."""
    others = [wheel for wheel in wheels.values() if wheel.name != "mindtrace-jobs"]
    return {backend: wheel.name for wheel in others for backend in wheel.clients}


def by_extra(extra: str, wheels: dict[str, Built], folder: Path) -> list[str]:
    """Return what installs mindtrace-jobs with an extra, which finds the rest of ours by file."""
    rest = [wheel for wheel in wheels.values() if wheel.name != "mindtrace-jobs"]
    overrides = folder / f"{extra}.txt"
    overrides.write_text("".join(f"{wheel.name} @ {wheel.path.as_uri()}\n" for wheel in rest))
    jobs = f"mindtrace-jobs[{extra}] @ {wheels['mindtrace-jobs'].path.as_uri()}"
    return ["--overrides", str(overrides), jobs]


def try_out(
    words: list[str], expected: Collection[str], wheels: dict[str, Built], folder: Path
) -> None:
    """Install into an empty environment, and ask there for what must and must not be there."""
    python = str(folder / "bin" / "python")
    call(commands.uv(), "venv", "--quiet", "--python", sys.executable, str(folder))
    call(commands.uv(), "pip", "install", "--quiet", "--python", python, *words)
    call(python, "-I", "-W", "error", "-c", PROBE, json.dumps(expectation(expected, wheels)))


def expectation(expected: Collection[str], wheels: dict[str, Built]) -> list[object]:
    """Say what an environment with just these packages of ours holds, and what it says."""
    here = [wheel for wheel in wheels.values() if wheel.name in expected]
    away = [wheel for wheel in wheels.values() if wheel.name not in expected]
    pip_lines = {
        client: f"pip install 'mindtrace-jobs[{backend}]'"
        for wheel in away
        for backend, client in wheel.clients.items()
        if "mindtrace-jobs" in expected
    }
    clients = [client for wheel in here for client in wheel.clients.values()]
    installed = {wheel.name: (wheel.version, wheel.module) for wheel in here}
    return [installed, [wheel.name for wheel in away], clients, pip_lines]


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
