#!/usr/bin/env python3
"""Run this checkout with nothing but Python 3.11 or newer: no pip, no venv, no preparation.

    python3 dev.py sample        run the main sample
    python3 dev.py test          run all tests
    python3 dev.py check         or any other name in [tool.ds.scripts] of pyproject.toml

It finds uv, or installs it into `.uv/`; lets uv fill `.venv/` with the locked packages, for the
Python that runs this file; then becomes the script.
"""

import os
import sys

# Up to here, and in the syntax of the rest, this must suit every Python 3 there is.
if os.name == "nt":
    sys.exit("dev.py: Windows is not supported; use Linux, macOS or WSL.")
if sys.version_info < (3, 11):
    sys.exit("dev.py: Python 3.11 or newer is needed, this is {}.{}.".format(*sys.version_info))

import shlex
import shutil
import ssl
import tomllib
from typing import TYPE_CHECKING, Any, NoReturn

from tools.commands import ROOT, UV_HOME, run
from tools.package_index import PUBLIC, UnavailableError, fetch_pip, indexes, numbers

if TYPE_CHECKING:
    from subprocess import CompletedProcess

PYTHON = os.path.realpath(sys.executable)  # never a shim, never a virtual environment
OFFLINE = ("error sending request", "dns error", "failed to establish", "connection", "timed out")


def main(arguments: list[str]) -> None:
    """Prepare the checkout, then become the script."""
    scripts: dict[str, str] = tools()["ds"]["scripts"]
    if not arguments or arguments[0] not in scripts:
        print(f"usage: python3 dev.py {{{','.join(scripts)}}} [arguments]", file=sys.stderr)
        sys.exit(2)
    name, *rest = arguments
    os.chdir(ROOT)
    adjust_environment()
    uv = find_uv() or install_uv()
    synchronise(uv)
    if name != "setup":
        # `ds` runs the same line, but loses the quotes of `-k "a or b"`.
        os.execv(uv, [uv, "run", "--no-sync", *shlex.split(scripts[name]), *rest])


def tools() -> dict[str, Any]:
    """Read the tables of pyproject.toml, the one place that names scripts and versions."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def adjust_environment() -> None:
    """Make uv trust what this machine trusts, and mind nobody else's virtual environment."""
    os.environ.pop("VIRTUAL_ENV", None)
    if "PIP_CERT" in os.environ:
        os.environ.setdefault("SSL_CERT_FILE", os.environ["PIP_CERT"])
    # Else, where bytecode is not written (as in many containers), each process that tests launch
    # would compile the libraries again.
    os.environ.setdefault("UV_COMPILE_BYTECODE", "1")
    # Without certificates of its own (a bare container) the machine is better off with uv's.
    if sys.platform == "darwin" or ssl.get_default_verify_paths().cafile:
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")


def find_uv() -> str | None:
    """Find a uv that starts and is new enough: on PATH, or brought by an earlier run."""
    wanted = numbers(tools()["uv"]["required-version"])
    for candidate in (shutil.which("uv"), str(UV_HOME / "bin" / "uv")):
        if candidate and os.access(candidate, os.X_OK):
            found = run(candidate, "--version")  # the shim of pyenv exists, but fails
            if found.returncode == 0 and numbers(found.stdout) >= wanted:
                return candidate
    return None


def install_uv() -> str:
    """Install uv into `.uv/`; the packages of the system stay untouched."""
    say("installing uv into .uv (once)")
    command = [*find_pip(), "install", "--disable-pip-version-check", "--only-binary", ":all:"]
    command += ["--upgrade", "--target", str(UV_HOME), "uv" + tools()["uv"]["required-version"]]
    # Settings that would contradict --target.
    installed = run(*command, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    return find_uv() or fail("pip could not install uv", installed)


def find_pip() -> list[str]:
    """Find a pip: Python's own, that of a virtual environment, or one fetched as a file."""
    if run(PYTHON, "-m", "pip", "--version").returncode == 0:
        return [PYTHON, "-m", "pip"]
    environment = UV_HOME / "pip"
    if run(PYTHON, "-m", "venv", "--clear", str(environment)).returncode == 0:
        return [str(environment / "bin" / "python"), "-m", "pip"]
    try:
        wheel = fetch_pip(UV_HOME)
    except UnavailableError as reason:
        sys.exit(f"dev.py: this Python has no pip, and no package index gave one ({reason}).")
    return [PYTHON, str(wheel / "pip")]  # a wheel is a zip file, which Python can run


def synchronise(uv: str) -> None:
    """Fill `.venv/` with exactly what uv.lock says."""
    if not (ROOT / ".venv").exists():
        say("filling .venv with the locked packages (once)")
    everything = ["--frozen", "--quiet", "--all-packages", "--all-extras"]
    done = run(uv, "sync", *everything, "--python", PYTHON)
    if done.returncode != 0 and indexes()[0] != PUBLIC:
        done = synchronise_from(indexes()[0], uv, everything)
    if done.returncode != 0:
        fail("uv could not fill .venv", done)
    # the same for our own, which uv does not compile; what cannot be written is done without
    run(PYTHON, "-m", "compileall", "-qq", "packages", "tools")


def synchronise_from(index: str, uv: str, what: list[str]) -> "CompletedProcess[str]":
    """Do the same from a mirror: the addresses in uv.lock are the public ones, its hashes hold."""
    UV_HOME.mkdir(exist_ok=True)
    locked = str(UV_HOME / "requirements.txt")
    steps = (
        ["export", *what, "--output-file", locked],
        ["venv", "--quiet", "--allow-existing", "--python", PYTHON, ".venv"],
        ["pip", "sync", "--quiet", "--python", ".venv", locked],
    )
    done = run(uv, "--version")
    for step in steps:
        if done.returncode == 0:
            done = run(uv, *step, UV_DEFAULT_INDEX=index)
    return done


def say(what: str) -> None:
    """Tell the reader what takes so long."""
    print(f"dev.py: {what} ...", file=sys.stderr, flush=True)


def fail(what: str, done: "CompletedProcess[str]") -> NoReturn:
    """End with one sentence, below what the failed command said unless that is plain."""
    said = (done.stderr or done.stdout).strip()
    if any(sign in said.lower() for sign in OFFLINE):
        why = "the package index cannot be reached; check the network or set PIP_INDEX_URL"
        sys.exit(f"dev.py: {what}: {why}.")
    sys.exit(f"{said}\ndev.py: {what}; its own words are above.")


if __name__ == "__main__":
    main(sys.argv[1:])
