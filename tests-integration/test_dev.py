"""`dev.py` in a copy of the checkout's root, as a real process, with stand-ins for uv and pip.

Nothing here needs a network: the index is served from this machine, and its pip "installs" a uv
that only writes down how it was called.
"""

import ast
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
FAKE_UV = """#!/bin/sh
[ "$1" = --version ] && { echo "uv 99.0"; exit 0; }
for word in "$@"; do printf '%s\\n' "$word"; done >> calls
echo -- >> calls
[ "$1" = "$UV_FAILS_AT" ] && { echo "$UV_SAYS" >&2; exit 2; }
exit 0
"""
FAKE_PIP = f"""
import pathlib, sys
uv = pathlib.Path(sys.argv[sys.argv.index("--target") + 1], "bin", "uv")
uv.parent.mkdir(parents=True)
uv.write_text({FAKE_UV!r})
uv.chmod(0o755)
"""


class Checkout:
    """The root files of the project in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.home = folder / "home"
        self.home.mkdir()
        shutil.copytree(ROOT / "tools", self.folder / "tools")
        for name in ("dev.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)

    def dev(self, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run dev.py with nothing in the environment but the settings."""
        return subprocess.run(
            [sys.executable, "dev.py", *words],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home)} | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[list[str]]:
        """Return how the stand-in for uv was called."""
        said = (self.folder / "calls").read_text().split("--\n")
        return [call.splitlines() for call in said if call]


class Index(http.server.ThreadingHTTPServer):
    """A package index, in JSON below /json and in HTML below /html."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.authorizations: set[str | None] = set()
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as wheel:
            wheel.writestr("pip/__main__.py", FAKE_PIP)
        self.offer(content.getvalue(), hashlib.sha256(content.getvalue()).hexdigest())

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def offer(self, content: bytes, sha256: str) -> None:
        """Offer one good wheel among others that must not be taken."""
        files = [
            {"filename": f"pip-{rest}", "url": f"/pip-{rest}", "hashes": {"sha256": sha256}} | more
            for rest, more in (
                ("9.0-py3-none-any.whl", {}),
                ("10.0-py3-none-any.whl", {}),
                ("11.0-py3-none-any.whl", {"requires-python": ">=3.99"}),
                ("12.0-py3-none-any.whl", {"yanked": "broken"}),
                ("13.0.tar.gz", {}),
            )
        ]
        page = f"""<a href="/pip-10.0-py3-none-any.whl#sha256={sha256}">10</a>
            <a href="/pip-11.0-py3-none-any.whl#sha256={sha256}" data-requires-python="&gt;=3.99">
            <a href="/pip-12.0-py3-none-any.whl#sha256={sha256}" data-yanked="">12</a>"""
        self.pages = {
            "/json/pip/": (
                "application/vnd.pypi.simple.v1+json",
                json.dumps({"files": files}).encode(),
            ),
            "/html/pip/": ("text/html", page.encode()),
            "/pip-10.0-py3-none-any.whl": ("application/zip", content),
        }


class Page(http.server.BaseHTTPRequestHandler):
    """Answers from the pages of the index."""

    def do_GET(self) -> None:
        index = cast("Index", self.server)
        index.authorizations.add(self.headers["Authorization"])
        if self.path not in index.pages:
            self.send_error(404)
            return
        kind, content = index.pages[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def uv_on_path(tmp_path: Path) -> str:
    """A PATH on which there is a uv."""
    return make_program(tmp_path / "bin" / "uv", FAKE_UV)


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A PYTHONPATH that takes away pip and venv, as Debian does."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("pip", "venv"):
        (folder / f"{name}.py").write_text("raise SystemExit('not here')")
    return str(folder)


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def make_program(path: Path, text: str) -> str:
    """Write a program and return a PATH that begins with its folder."""
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o755)
    return f"{path.parent}:/usr/bin:/bin"


def test_it_parses_on_a_python_that_is_too_old() -> None:
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 6))


def test_it_fills_the_environment_from_the_lock_and_runs_the_script(
    checkout: Checkout, uv_on_path: str
) -> None:
    done = checkout.dev("test", "jobs", "-k", "a or b", PATH=uv_on_path)

    assert (done.returncode, done.stdout) == (0, "")
    sync, run = checkout.calls()
    assert {"sync", "--frozen", "--all-packages", "--all-extras", "--python"} <= set(sync)
    assert run[:2] == ["run", "--no-sync"]
    assert run[2:] == ["python", "-m", "tools.run_tests", "jobs", "-k", "a or b"]


def test_setup_only_fills_the_environment(checkout: Checkout, uv_on_path: str) -> None:
    done = checkout.dev("setup", PATH=uv_on_path)

    assert done.returncode == 0
    assert [call[0] for call in checkout.calls()] == ["sync"]


@pytest.mark.parametrize("words", [[], ["nonsense"]])
def test_an_unknown_script_lists_the_known_ones(checkout: Checkout, words: list[str]) -> None:
    done = checkout.dev(*words)

    assert done.returncode == 2
    assert "test,check" in done.stderr


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize("setting", ["PIP_INDEX_URL", "UV_INDEX_URL"])
def test_without_pip_and_venv_it_fetches_pip_from_the_configured_index(
    checkout: Checkout, bare: str, index: Index, form: str, setting: str
) -> None:
    done = checkout.dev("test", PYTHONPATH=bare, **{setting: f"http://{index.host}/{form}"})

    assert done.returncode == 0, done.stderr
    assert [call[0] for call in checkout.calls()] == ["sync", "run"]


def test_a_pip_with_another_hash_is_refused_and_no_password_shown(
    checkout: Checkout, bare: str, index: Index
) -> None:
    index.offer(b"something else", "0" * 64)

    done = checkout.dev(
        "test", PYTHONPATH=bare, PIP_INDEX_URL=f"http://me:secret@{index.host}/json"
    )

    assert index.authorizations == {"Basic bWU6c2VjcmV0"}
    assert done.returncode == 1
    assert "sha256" in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr
    assert not list(checkout.folder.glob(".uv/*.whl"))


def test_an_index_that_cannot_be_reached_is_one_sentence(checkout: Checkout, bare: str) -> None:
    done = checkout.dev("test", PYTHONPATH=bare, PIP_INDEX_URL="http://127.0.0.1:9/simple")

    assert done.returncode == 1
    assert "no package index gave one (127.0.0.1:" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_uv_that_does_not_start_is_passed_over(
    checkout: Checkout, bare: str, index: Index, tmp_path: Path
) -> None:
    path = make_program(tmp_path / "shims" / "uv", "#!/bin/sh\nexit 127\n")

    done = checkout.dev(
        "test", PATH=path, PYTHONPATH=bare, PIP_INDEX_URL=f"http://{index.host}/json"
    )

    assert done.returncode == 0, done.stderr


def test_a_configured_mirror_is_tried_when_the_public_index_fails(
    checkout: Checkout, uv_on_path: str
) -> None:
    done = checkout.dev(
        "check", PATH=uv_on_path, PIP_INDEX_URL="http://127.0.0.1:9/simple", UV_FAILS_AT="sync"
    )

    assert done.returncode == 0, done.stderr
    assert [call[0] for call in checkout.calls()] == ["sync", "export", "venv", "pip", "run"]


@pytest.mark.parametrize(
    ("said", "last"),
    [("dns error", "the package index cannot be reached"), ("disk full", "own words are above")],
)
def test_a_failure_of_uv_ends_in_one_sentence(
    checkout: Checkout, uv_on_path: str, said: str, last: str
) -> None:
    done = checkout.dev("test", PATH=uv_on_path, UV_FAILS_AT="sync", UV_SAYS=said)

    assert done.returncode == 1
    assert last in done.stderr.splitlines()[-1]
