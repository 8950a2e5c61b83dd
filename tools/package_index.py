"""Reads package indexes with the standard library alone, to fetch pip where Python came without it.

Knows the addresses that pip and uv are configured with, and both forms of an index page (JSON and
HTML). Resolves nothing: everything but pip itself is left to pip and uv.
"""

import base64
import configparser
import hashlib
import html.parser
import json
import os
import re
import ssl
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

PUBLIC = "https://pypi.org/simple"
MAIN = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
MORE = ("PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
PIP_WHEEL = re.compile(r"pip-(\d+(?:\.\d+)+)-py3-none-any\.whl")
JSON_PAGE = "application/vnd.pypi.simple.v1+json"


class UnavailableError(Exception):
    """No configured index gave a usable pip."""


class Wheel(NamedTuple):
    """One file that an index offers."""

    version: tuple[int, ...]
    name: str
    url: str
    sha256: str


def indexes() -> list[str]:
    """Return the package indexes that the settings of pip and uv name, the main one first."""
    file = _pip_settings()
    main = *map(os.environ.get, MAIN), file.get("index-url")
    more = *map(os.environ.get, MORE), file.get("extra-index-url")
    chosen = next(filter(None, main), PUBLIC)
    words = " ".join(filter(None, [chosen, *more])).split()
    # uv allows "name=address".
    return list(dict.fromkeys(re.sub(r"^[\w-]+=(?=\w+://)", "", word) for word in words))


def _pip_settings() -> dict[str, str]:
    """Read the [global] part of pip's configuration files."""
    own = os.environ.get("PIP_CONFIG_FILE")
    home = Path.home()
    usual = ["/etc/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    parser = configparser.RawConfigParser(strict=False)
    parser.read([own] if own else usual)
    return dict(parser["global"]) if parser.has_section("global") else {}


def fetch_pip(folder: Path) -> Path:
    """Put the newest pip that suits this Python into a folder, checked against the index's hash."""
    problems: list[str] = []
    for index in indexes():
        try:
            wheel = newest_pip(index.rstrip("/") + "/pip/")
            content, _ = fetch(wheel.url)
        except (OSError, ValueError) as error:
            # The address may hold a password: name the host only.
            problems.append(f"{urllib.parse.urlsplit(index).hostname or 'local'}: {error}")
            continue
        if hashlib.sha256(content).hexdigest() != wheel.sha256:
            problems.append(f"{wheel.name} does not have the sha256 that its index promised")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / wheel.name
        path.write_bytes(content)
        return path
    raise UnavailableError("; ".join(problems))


def newest_pip(page: str) -> Wheel:
    """Read an index's page for pip and choose; the page's address ends with a slash."""
    content, kind = fetch(page)
    text = content.decode()
    files = json.loads(text)["files"] if "json" in kind else _Links.read(text)
    suitable = [
        Wheel(numbers(name[1]), name[0], urllib.parse.urljoin(page, file["url"]), sha256)
        for file in files
        if (name := PIP_WHEEL.fullmatch(file["filename"]))
        and (sha256 := file["hashes"].get("sha256"))
        and not file.get("yanked")
        and numbers(file.get("requires-python") or "0") <= sys.version_info[:2]
    ]
    if not suitable:
        raise ValueError("it offers no pip for this Python")
    return max(suitable)


def numbers(version: str) -> tuple[int, ...]:
    """Return the first dotted number in a text, ready to compare; empty if there is none."""
    found = re.search(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


class _Links(html.parser.HTMLParser):
    """Reads the HTML form of an index page into the shape of its JSON form."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[dict[str, Any]] = []

    @classmethod
    def read(cls, page: str) -> list[dict[str, Any]]:
        parser = cls()
        parser.feed(page)
        return parser.files

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        url, _, fragment = (given.get("href") or "").partition("#")
        algorithm, _, digest = fragment.partition("=")
        if tag == "a" and url:
            self.files.append(
                {
                    "filename": urllib.parse.unquote(url.rsplit("/", 1)[-1]),
                    "url": url,
                    "hashes": {algorithm: digest},
                    "yanked": "data-yanked" in given,
                    "requires-python": given.get("data-requires-python"),
                }
            )


def fetch(url: str) -> tuple[bytes, str]:
    """Read one address and say of which type it is; a name and password in it become a header."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        path = Path(urllib.request.url2pathname(parts.path))
        return (path / "index.html" if path.is_dir() else path).read_bytes(), "text/html"
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(address, headers={"Accept": f"{JSON_PAGE}, text/html;q=0.1"})
    if parts.username:
        pair = f"{parts.username}:{parts.password or ''}"
        token = base64.b64encode(urllib.parse.unquote(pair).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    trusted = ssl.create_default_context()
    if certificates := os.environ.get("PIP_CERT"):
        trusted.load_verify_locations(certificates)
    with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
        return answer.read(), answer.headers.get_content_type()
