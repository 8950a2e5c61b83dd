"""Where a server comes from: the first of six ways that works.

An address in the environment; one that listens already; a binary on the machine; a container; a
binary that apt-get installs. Each way either gives a server or says in one sentence why not.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tools import commands
from tools.benchmarks.children import Child
from tools.services.catalogue import Service
from tools.services.process import ServerError, wait_until

ENGINE_WITHIN = 10.0
IMAGE_WITHIN = 180.0
ANSWERS_WITHIN = 60.0


class MissedError(Exception):
    """One way did not give a server; the message says why."""


class UnavailableError(Exception):
    """No way gave a server; the message says what was tried, and how to get one."""


class Found(NamedTuple):
    """A server that answers."""

    url: str
    how: str
    close: Callable[[], None]
    """Ends what was started for it; nothing where it was there before."""


class Ladder:
    """Looks for servers; may install one only if it was allowed to."""

    def __init__(self, say: Callable[[str], None], *, may_install: bool) -> None:
        self._say = say
        self._may_install = may_install

    def find(self, service: Service) -> Found:
        """Return the first server that works.

        Raises:
            UnavailableError: there is none.
        """
        missed: list[str] = []
        for way in (given, listening, started, contained, self._installed):
            try:
                return way(service)
            except MissedError as why:
                missed.append(str(why))
        raise UnavailableError(f"{service.remedy} Tried: {'; '.join(missed)}.")

    def install_missing(self, service: Service) -> None:
        """Install the server's binary, unless it is there.

        Raises:
            MissedError: that is not allowed, or did not work.
        """
        if service.binary() is not None:
            return
        if not self._may_install:
            raise MissedError("apt-get was not asked (--no-install)")
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise MissedError("apt-get needs Debian or Ubuntu, and root")
        if not service.may_be_had():
            raise MissedError("it could not be started here if it were installed")
        self._say(
            f"{service.name}: apt-get install {service.package} (--no-install refuses this); the"
            " system may run it as a service from now on"
        )
        for words in (["update"], ["install", "-y", "--no-install-recommends", service.package]):
            apt = ["timeout", "300", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=60", *words]
            done = commands.run(*apt, DEBIAN_FRONTEND="noninteractive")
        if done.returncode != 0:
            raise MissedError(f"apt-get install {service.package} failed: {last_line(done.stderr)}")

    def _installed(self, service: Service) -> Found:
        if service.binary() is not None:
            raise MissedError("to install it again would not help")
        self.install_missing(service)
        try:
            return listening(service)  # the system may have started it
        except MissedError:
            return started(service)


def given(service: Service) -> Found:
    """Take the server whose address is in the environment."""
    url = os.environ.get(service.variable)
    if not url:
        raise MissedError(f"{service.variable} is not set")
    if not service.answers(url):
        raise MissedError(f"{service.variable} leads to no {service.name} that lets us in")
    return Found(url, f"{place(url)}, from {service.variable}", nothing)


def listening(service: Service) -> Found:
    """Take a server that runs already."""
    for url in service.usual:
        if service.answers(url):
            return Found(url, f"{place(url)}, which runs already", nothing)
    raise MissedError(f"none lets us in at {place(service.usual[0])}")


def started(service: Service) -> Found:
    """Start a binary of this machine."""
    binary = service.binary()
    if binary is None:
        raise MissedError(f"no {service.package} on PATH")
    with ExitStack() as undo:
        folder = tempfile.mkdtemp(prefix=f"mindtrace-{service.marker}-")
        undo.callback(shutil.rmtree, folder)
        try:
            server = undo.enter_context(service.own(Path(folder)))
        except ServerError as error:
            undo.pop_all()  # the folder stays, with the log that the message names
            raise MissedError(f"{binary}: {str(error).rstrip('.')}") from error
        how = f"{place(server.url)}, started from {binary}"
        return Found(server.url, how, undo.pop_all().close)


def contained(service: Service) -> Found:
    """Run a container, if a Docker engine answers."""
    if not service.image:
        raise MissedError("it does not run in a container")
    command = [sys.executable, "-W", "ignore", "-m", "tools.services.container"]
    with ExitStack() as undo:
        holder = undo.enter_context(Child([*command, service.image, str(service.port)]))
        hear(holder, ENGINE_WITHIN, "no Docker engine answers")
        where = hear(holder, IMAGE_WITHIN, f"Docker did not start {service.image}")
        url = service.inside.format(place=where)
        if not wait_until(lambda: service.answers(url), ANSWERS_WITHIN):
            raise MissedError(f"{service.image} runs in Docker but does not answer at {where}")
        return Found(url, f"{where}, a container of {service.image}", undo.pop_all().close)


def hear(holder: Child, patience: float, otherwise: str) -> str:
    """Return the next line that the holder of a container says."""
    try:
        line = holder.hear(patience)
    except RuntimeError as error:
        raise MissedError(otherwise) from error
    if line.startswith("no: "):
        raise MissedError(f"{otherwise} ({line.removeprefix('no: ').rstrip('.')})")
    return line


def place(url: str) -> str:
    """Name host and port of an address, or the path of its socket, and nothing secret."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path


def last_line(text: str) -> str:
    """Return the last line of what a program said."""
    return (text.strip().splitlines() or ["it does not say why"])[-1].rstrip(".")


def nothing() -> None:
    """End nothing: the server belongs to somebody else."""
