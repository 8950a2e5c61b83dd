"""A registry of images of one's own. An engine asks those of 127.0.0.1 without encryption."""

import shutil

from tools.services.probe import registry_answers
from tools.services.process import Kept, ServerError
from tools.services.server import OwnServer

SETTINGS = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: "{folder}/data"}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
"""


class RegistryServer(OwnServer):
    """A registry that lets everybody read, write and delete."""

    @staticmethod
    def binary() -> str | None:
        """Find the program on this machine."""
        return shutil.which("docker-registry")

    @property
    def url(self) -> str:
        """Its address; names of images begin with what follows the `//`."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Tell whether it answers."""
        return registry_answers(self.url)

    def _launch(self) -> Kept:
        program = self.binary()
        if program is None:
            raise ServerError("There is no docker-registry on PATH.")
        settings = self.folder / "registry.yml"
        settings.write_text(SETTINGS.format(folder=self.folder, port=self.port))
        command = [program, "serve", str(settings)]
        return Kept("docker-registry", command, self.folder / "registry.log")
