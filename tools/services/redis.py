"""A Redis of one's own, for tests that kill, starve or lock it."""

import shutil
from pathlib import Path
from typing import Any

from tools.services.certificate import Certificate
from tools.services.probe import redis_answers, redis_client
from tools.services.process import Kept, ServerError
from tools.services.server import OwnServer


class RedisServer(OwnServer):
    """A Redis that writes each change to disk before it answers, and never evicts.

    Options are those of redis.conf, with underscores: `maxmemory="5mb"`. They are written anew at
    each start; change `options` in between, or use `ctl("CONFIG", "SET", ...)` while it runs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        tls: Certificate | None = None,
        **options: str,
    ) -> None:
        super().__init__(folder)
        self._password = password
        self._tls = tls
        self.options = {
            "appendonly": "yes",
            "appendfsync": "always",  # the others may lose what they have acknowledged
            "save": '""',
            "maxmemory_policy": "noeviction",
        } | options

    @staticmethod
    def binary() -> str | None:
        """Find the program on this machine."""
        return shutil.which("redis-server")

    @property
    def url(self) -> str:
        """The address, with the password; `rediss://` if it speaks TLS only."""
        secret = f":{self._password}@" if self._password else ""
        return f"{'rediss' if self._tls else 'redis'}://{secret}127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Tell whether it answers a PING: not while it still reads its data."""
        return redis_answers(self.url, **self._trust())

    def ctl(self, *command: str) -> Any:
        """Send one command as an administrator does, and return the answer."""
        with redis_client(self.url, decode_responses=True, **self._trust()) as client:
            return client.execute_command(*command)

    def _trust(self) -> dict[str, str]:
        return {"ssl_ca_certs": str(self._tls.certificate)} if self._tls else {}

    def _launch(self) -> Kept:
        settings = self.folder / "redis.conf"
        settings.touch(mode=0o600)
        lines = self._settings().items()
        settings.write_text("".join(f"{name.replace('_', '-')} {value}\n" for name, value in lines))
        program = self.binary()
        if program is None:
            raise ServerError("There is no redis-server on PATH.")
        return Kept("redis-server", [program, str(settings)], self.folder / "redis.log")

    def _settings(self) -> dict[str, str]:
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": f'"{self.folder}"'}
        if self._tls:
            settings |= {
                "port": "0",
                "tls_port": str(self.port),
                "tls_cert_file": str(self._tls.certificate),
                "tls_key_file": str(self._tls.key),
                "tls_auth_clients": "no",
            }
        if self._password:
            settings["requirepass"] = self._password
        return settings | self.options
