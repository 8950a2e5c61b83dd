"""A private repository behind https: the token opens it, and is to be seen nowhere."""

import base64
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from git_support import Origin
from pydantic import SecretStr

from mindtrace.cluster.errors import CheckoutError
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.git.checkout import Checkout
from mindtrace.cluster.git.source import Source

pytestmark = pytest.mark.process

TOKEN = "very-secret-token"


class Guarded(SimpleHTTPRequestHandler):
    """Serves files to who shows the token."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        shown = self.headers.get("Authorization", "")
        self.seen.append(shown)
        wanted = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        if shown == f"Basic {wanted}":
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=private")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A repository that a server shows to who has the token."""
    origin = Origin(tmp_path / "www" / "owner" / "repo")
    origin.commit({"a.txt": "private"})
    origin.git("update-server-info")
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    about = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext"
    try:
        subprocess.run(
            ["openssl", *about.split(), "subjectAltName=DNS:localhost", *files],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    server = ThreadingHTTPServer(
        ("localhost", 0), partial(Guarded, directory=str(tmp_path / "www"))
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "certificate.pem"))
    monkeypatch.setenv("HOME", str(tmp_path))
    Guarded.seen.clear()
    yield f"https://localhost:{server.server_port}/owner/repo/.git"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which every call of git is written down."""
    log, program = tmp_path / "commands", tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def access(token: str, url: str) -> Access:
    host = url.split("/")[2]
    return Access(token=SecretStr(token), token_for=(f"{host}/owner",))


def test_the_token_opens_a_repository_and_is_left_nowhere(
    tmp_path: Path, url: str, commands: Path
) -> None:
    # what git is told to store it in must not get it
    (tmp_path / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    cache = tmp_path / "cache"

    with Checkout.make(Source(url), cache, access(TOKEN, url)) as checkout:
        assert (checkout.folder / "a.txt").read_text() == "private"
        texts = [each.read_bytes() for each in cache.rglob("*") if each.is_file()]
        assert b"private" in texts
        assert not [each for each in texts if TOKEN.encode() in each]

    said = commands.read_text()
    assert "worktree add" in said
    assert TOKEN not in said
    assert not (tmp_path / ".git-credentials").exists()


@pytest.mark.parametrize("shown", ["another-secret", None])
def test_without_the_right_token_it_is_said_what_to_set(
    tmp_path: Path, url: str, shown: str | None
) -> None:
    which = access(shown, url) if shown else access(TOKEN, "https://elsewhere/x")

    with pytest.raises(CheckoutError, match="Set MINDTRACE_CLUSTER__GIT_TOKEN") as caught:
        Checkout.make(Source(url), tmp_path / "cache", which)

    assert "secret" not in str(caught.value)
    assert any(Guarded.seen) is (shown is not None)
