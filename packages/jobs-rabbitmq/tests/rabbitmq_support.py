"""What several tests of this package share."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from mindtrace.jobs.testing.harness import entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mindtrace.jobs import RabbitMQClient
    from mindtrace.jobs.backend import Delivery, Entry

HOST = "127.0.0.1"
JOB = '{"payload": {}}'


def job(job_id: str | None = None, **facts: float | str | None) -> Entry:
    """Return an entry whose body is a job."""
    return entry(job_id, body=JOB, **facts)


def put(client: RabbitMQClient, queue: str, *entries: Entry) -> list[str]:
    """Publish through the store."""
    return client.store.publish(queue, list(entries))


def take(client: RabbitMQClient, queue: str, limit: int = 1, wait: float = 5) -> list[Delivery]:
    """Take jobs with a new holder, which stays open."""
    return client.store.holder().receive([queue], limit=limit, wait=wait).deliveries


def run_python(code: str, *args: object) -> tuple[str, str]:
    """Run code in a fresh interpreter; return what it printed and what it complained of."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


class Listener:
    """A server of the test's own; every connection gets a thread."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                found, _ = self._listener.accept()
                self._sockets.append(found)
                threading.Thread(target=self._handle, args=(found,), daemon=True).start()

    def _handle(self, found: socket.socket) -> None:
        with suppress(OSError):
            self._serve(found)
        found.close()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()


def http(found: socket.socket) -> None:
    """Answer as a web server answers what it does not understand."""
    found.recv(100)
    found.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def mute(found: socket.socket) -> None:
    """Say nothing for as long as the other side holds on."""
    while found.recv(100):
        pass


def encrypting(certificate: Path, key: Path, port: int) -> Callable[[socket.socket], None]:
    """Return what ends TLS and passes everything on to a port of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(found: socket.socket) -> None:
        with (
            context.wrap_socket(found, server_side=True) as near,
            socket.create_connection((HOST, port)) as far,
        ):
            threading.Thread(target=_carry, args=(far, near), daemon=True).start()
            _carry(near, far)

    return serve


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def certificate_in(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
    """Make a certificate that vouches for itself, for this machine unless said, and its key."""
    files = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName="
    places = ["-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([*f"{command}{names}".split(), *places], check=True, capture_output=True)
    return files
