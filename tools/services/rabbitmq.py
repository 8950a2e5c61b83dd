"""A RabbitMQ of one's own, for tests that kill, starve or lock it.

It has its own node name, cookie, data, ports and name server (epmd), so that it neither sees nor
disturbs another node on the machine, and leaves nothing running.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.services.certificate import Certificate
from tools.services.probe import rabbitmq_answers
from tools.services.process import Kept, ServerError, free_port, listens
from tools.services.server import OwnServer

DEBIAN = Path("/usr/lib/rabbitmq/lib")


class RabbitMQServer(OwnServer):
    """A RabbitMQ node with the user guest, password guest.

    Lines of `settings` go to rabbitmq.conf (`consumer_timeout = 3000`), `advanced` is the text of
    advanced.config. A start takes about 5 s.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Sequence[str] = (),
        advanced: str = "[].",
        plugins: Sequence[str] = (),
        tls: Certificate | None = None,
    ) -> None:
        super().__init__(folder)
        self._tls = tls
        self._epmd: Kept | None = None
        self._epmd_port = free_port()
        self._node_port = free_port()
        self.tls_port = free_port()
        self.settings = list(settings)
        self.advanced = advanced
        self._prepare(plugins)

    @staticmethod
    def binary() -> str | None:
        """Find the program on this machine.

        Debian's own wrapper insists on being root and on the system's node, so that the program
        behind it is taken. The folder of a system's programs is often not on a user's PATH.
        """
        path = os.environ.get("PATH", os.defpath).split(os.pathsep)
        beside = [f"{folder.removesuffix('bin')}sbin" for folder in path if folder.endswith("/bin")]
        found = shutil.which("rabbitmq-server", path=os.pathsep.join([*path, *beside]))
        real = sorted(DEBIAN.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
        return str(real[-1]) if found and real else found

    @property
    def url(self) -> str:
        """The address for guest."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def tls_url(self) -> str:
        """The same, encrypted; only if the server was given a certificate."""
        return f"amqps://guest:guest@127.0.0.1:{self.tls_port}/"

    def answers(self) -> bool:
        """Tell whether it lets guest in."""
        return rabbitmq_answers(self.url)

    def ctl(self, *words: str) -> str:
        """Run rabbitmqctl on this node and return what it says.

        Raises:
            ServerError: the command failed.
        """
        # A session of its own: Linux shares processors among sessions first, and beside busy tests
        # in the same one this takes half a minute.
        done = subprocess.run(
            [*self._as_node(), self._program("rabbitmqctl"), "--quiet", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise ServerError(f"rabbitmqctl {words[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def add_user(self, name: str, password: str) -> None:
        """Add a user who may do everything in the default virtual host."""
        self.ctl("add_user", name, password)
        self.ctl("set_permissions", name, ".*", ".*", ".*")

    def raise_memory_alarm(self) -> None:
        """Make the node believe that its memory is used up: it stops to read from publishers."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "1")

    def clear_memory_alarm(self) -> None:
        """Give the node its memory back."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "512MB")

    def stop(self) -> None:
        """Shut down in order, which takes seconds, and return when all processes are gone."""
        super().stop()
        self._end_epmd()

    def kill(self) -> None:
        """Kill with SIGKILL, and return when all processes are gone."""
        super().kill()
        self._end_epmd()

    def _end_epmd(self) -> None:
        epmd, self._epmd = self._epmd, None
        if epmd is not None:
            epmd.close()

    def _launch(self) -> Kept:
        self._write_settings()
        server = self._program("rabbitmq-server")
        log = self.folder / "console.log"
        # A node without a name server starts one that stays; so it finds ours.
        epmd = ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)]
        self._epmd = Kept("epmd", epmd, log)
        try:
            self._epmd.wait_for(lambda: listens(self._epmd_port), self.starts_within)
            return Kept("rabbitmq-server", [*self._as_node(), server], log)
        except BaseException:
            self._end_epmd()
            raise

    def _program(self, name: str) -> str:
        server = self.binary()
        if server is None:
            raise ServerError("There is no rabbitmq-server on PATH.")
        return str(Path(server).with_name(name))

    def _prepare(self, plugins: Sequence[str]) -> None:
        (self.folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(10).upper())
            cookie.chmod(0o400)

    def _write_settings(self) -> None:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            "log.console = false",
            f"log.file = {self.folder}/rabbitmq.log",
            "disk_free_limit.absolute = 50MB",
            "vm_memory_high_watermark.absolute = 512MB",
        ]
        if self._tls:
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {self._tls.certificate}",
                f"ssl_options.certfile = {self._tls.certificate}",
                f"ssl_options.keyfile = {self._tls.key}",
            ]
        (self.folder / "rabbitmq.conf").write_text("\n".join([*lines, *self.settings, ""]))
        (self.folder / "advanced.config").write_text(f"{self.advanced}\n")

    def _as_node(self) -> list[str]:
        """Begin a command that runs with nothing but the environment of this node."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": f"{self.folder}/erl_crash.dump",
            "RABBITMQ_NODENAME": f"mindtrace{self.port}@127.0.0.1",
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/data",
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{self.folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{self.folder}/pid",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }
        return ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
