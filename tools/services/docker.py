"""A Docker engine of one's own. It needs root, and leaves the network of the machine as it is."""

import os
import shutil
from pathlib import Path
from types import TracebackType

from tools import commands
from tools.services.probe import docker_answers
from tools.services.process import Kept, ServerError
from tools.services.server import OwnServer

SYS_ADMIN = 1 << 21
"""The bit of the capability without which no container is started."""


class DockerServer(OwnServer):
    """An engine with its own data and socket; it has no network but `none` and `host`."""

    @staticmethod
    def binary() -> str | None:
        """Find the program on this machine."""
        return shutil.which("dockerd")

    @property
    def url(self) -> str:
        """The address of its socket."""
        return f"unix://{self.folder}/docker.sock"

    def answers(self) -> bool:
        """Tell whether it answers."""
        return docker_answers(self.url)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop in order: what the engine has mounted could not be removed otherwise."""
        self.stop()
        for each in reversed(mounted_below(self.folder)):  # by one that was killed
            commands.run("umount", each)

    def _launch(self, *around: str) -> Kept:
        program = self.binary()
        if program is None:
            raise ServerError("There is no dockerd on PATH.")
        if not may_run():
            raise ServerError("dockerd needs root, and rights that this process does not have.")
        places = {
            "data-root": self.folder / "data",
            "exec-root": self.folder / "exec",
            "pidfile": self.folder / "docker.pid",
        }
        # one that was killed left it behind, and another process may be called so by now
        (places["exec-root"] / "containerd" / "containerd.pid").unlink(missing_ok=True)
        options = [f"--{name}={value}" for name, value in places.items()]
        options += [f"--host={self.url}", "--bridge=none", "--iptables=false", "--ip6tables=false"]
        return Kept("dockerd", [*around, program, *options], self.folder / "dockerd.log")


def mounted_below(folder: Path) -> list[str]:
    """Return where something is mounted below a folder, the oldest first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    places = [line.split(" ")[1] for line in lines]
    return [each for each in places if each.startswith(f"{folder}/")]


def may_run() -> bool:
    """Tell whether this process may start an engine at all."""
    if os.geteuid() != 0:
        return False
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & SYS_ADMIN)
    return False


def may_be_had() -> bool:
    """Tell whether an engine could be installed on this machine, and be started."""
    return may_run() and shutil.which("apt-get") is not None
