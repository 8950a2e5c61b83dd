"""Servers of a test's own: on free ports, with their own data, ended with the test."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, cast

import pytest
from redis import Redis
from redis.exceptions import RedisError

from mindtrace.jobs.testing import eventually

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"


def needs_a_binary() -> None:
    """Skip where no server can be started; a machine with a server only elsewhere is enough."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine: apt-get install redis-server")


def free_port() -> int:
    """Return a port that is free, and so is the one ten thousand above: a Cluster talks there."""
    while True:
        port = random.randrange(12_000, 32_000)
        with (
            suppress(OSError),
            socket.create_server((HOST, port)),
            socket.create_server((HOST, port + 10_000)),
        ):
            return port


class OwnRedis:
    """A `redis-server` process; it keeps what it gets unless told otherwise."""

    def __init__(self, folder: Path, *options: str, sentinel: str = "") -> None:
        needs_a_binary()
        self.port = free_port()
        self.folder = folder / f"redis-{self.port}"
        self.folder.mkdir(parents=True)
        self._options = options
        self._sentinel = sentinel
        self._client_options: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL without a login."""
        return f"redis://{HOST}:{self.port}"

    def logs_in(self, **options: Any) -> Self:
        """Say how this helper itself gets in."""
        self._client_options = options
        return self

    def also(self, *options: str) -> Self:
        """Add options for the start."""
        self._options += options
        return self

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        command = ["redis-server"]
        if self._sentinel:
            config = self.folder / "sentinel.conf"
            if not config.exists():
                config.write_text(self._sentinel)
            command += [str(config), "--sentinel"]
        else:
            command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command += ["--port", str(self.port), "--bind", HOST, "--dir", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options], stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._answers, within=20, what=f"redis-server on {self.port}")
        return self

    def client(self, **options: Any) -> Any:
        """Return a plain client of it."""
        merged = {"port": self.port, "decode_responses": True, **self._client_options, **options}
        return cast("Any", Redis)(host=HOST, **merged)

    def _answers(self) -> bool:
        client = self.client()
        try:
            client.ping()
        except (RedisError, OSError) as error:
            # a server that asks for another login is there, too
            return "Authentication" in type(error).__name__
        finally:
            client.close()
        return True

    def kill(self) -> None:
        """End it as SIGKILL does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()


class Proxy:
    """Stands between a client and a server; told to, it swallows an answer and cuts the line."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.swallow: bytes | None = None
        """What a command holds whose answer is swallowed, once."""
        self.swallowed = threading.Event()
        self._sockets: list[socket.socket] = []
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._keep(near)
                far = self._keep(socket.create_connection((HOST, self._target)))
                threading.Thread(target=self._serve, args=(near, far), daemon=True).start()

    def _keep(self, one: socket.socket) -> socket.socket:
        self._sockets.append(one)
        if self._is_closed:  # it came while this proxy was closed
            one.close()
        return one

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        muted = threading.Event()
        threading.Thread(target=self._carry_back, args=(near, far, muted), daemon=True).start()
        with suppress(OSError):
            while data := near.recv(65536):
                if self.swallow is not None and self.swallow in data:
                    self.swallow = None
                    muted.set()  # before the server hears it: its answer must not be faster
                far.sendall(data)

    def _carry_back(self, near: socket.socket, far: socket.socket, muted: threading.Event) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                if muted.is_set():
                    self.swallowed.set()
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        for each in (self._listener, *self._sockets):
            each.close()
