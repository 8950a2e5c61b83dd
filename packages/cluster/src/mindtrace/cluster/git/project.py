"""`Project`: what a checkout declares of what it needs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from mindtrace.cluster.errors import CheckoutError, DependenciesError
from mindtrace.cluster.git.checkout import inside

if TYPE_CHECKING:
    from pathlib import Path

    from mindtrace.cluster.git.checkout import Checkout
    from mindtrace.cluster.git.source import Source

_PLAIN = re.compile(
    r"(?:--hash[= ].*|--(?:extra-)?index-url[= ].*|[A-Za-z0-9][^@/]*(?:@\s*[\w+]+://.*)?)?"
)
"""A line of requirements that means the same wherever the file lies."""

_MOST = 32 * 1024**2
"""Bytes of a file that declares something: we read it as a whole."""


@dataclass(frozen=True, slots=True)
class Project:
    """The dependencies of a checkout, as uv reads them.

    Attributes:
        name: What it is called in errors.
        folder: Where uv works.
        kind: By `uv.lock`, by `pyproject.toml` alone, or by `requirements.txt`.
        is_package: Whether it is itself installed.
        identity: Equal for projects whose environments are equal.
    """

    name: str
    folder: Path
    kind: Literal["locked", "project", "requirements"]
    is_package: bool
    identity: tuple[str, ...]

    @classmethod
    def of(cls, checkout: Checkout, source: Source) -> Self | None:
        """Return the project of a checkout; None if it declares nothing.

        Raises:
            CheckoutError: There is none in the folder that the source names.
            DependenciesError: Its `pyproject.toml` cannot be read.
        """
        if source.project is None:
            folder, root = checkout.folder, checkout.root.resolve()
            places = [folder, *(each for each in folder.parents if each.is_relative_to(root))]
        else:
            places = [inside(checkout.root, source.project, "project", source)]
        for place in places:
            found = cls._at(place, checkout, source)
            if found is not None:
                return found
        if source.project is not None:
            problem = f"{source.project!r} has neither a pyproject.toml nor a requirements.txt"
            raise CheckoutError(source.url, problem)
        return None

    @classmethod
    def _at(cls, folder: Path, checkout: Checkout, source: Source) -> Self | None:
        root = checkout.root.resolve()
        place = folder.relative_to(root).as_posix()
        name = source.url if place == "." else f"{place} of {source.url}"
        kind: Literal["locked", "project", "requirements"]
        is_package = False
        declared = _declared(folder, root, name)
        lock = _lock(folder, root) if "project" in declared else None
        if "project" in declared:
            kind = "project" if lock is None else "locked"
            texts = [
                _text(folder / "pyproject.toml", root, name),
                "" if lock is None else _text(lock, root, name),
            ]
            is_package = bool(_uv(declared).get("package", "build-system" in declared))
            refers = not _uv(declared).keys().isdisjoint({"sources", "workspace"})
            is_whole = not (is_package or refers or (lock is not None and lock.parent != folder))
        elif (folder / "requirements.txt").is_file():
            kind = "requirements"
            texts = [_text(folder / "requirements.txt", root, name)]
            is_whole = all(_PLAIN.fullmatch(_bare(line)) for line in texts[0].splitlines())
        else:
            return None
        # else what lies in the checkout, or where, may matter
        where = () if is_whole else (checkout.commit, place)
        return cls(name, folder, kind, is_package, (kind, *texts, *where))


def _text(file: Path, root: Path, name: str) -> str:
    """Return what a file of a checkout says.

    Raises:
        DependenciesError: It is somewhere else, or no file that somebody would write.
    """
    if not file.resolve().is_relative_to(root):
        raise DependenciesError(name, f"a link makes a file outside of it its {file.name}")
    if file.stat().st_size > _MOST:
        raise DependenciesError(name, f"its {file.name} is larger than {_MOST >> 20} MiB")
    return file.read_text("utf-8", "replace")


def _declared(folder: Path, root: Path, name: str) -> dict[str, Any]:
    """Return what the `pyproject.toml` of a folder says; nothing if there is none."""
    file = folder / "pyproject.toml"
    try:
        return tomllib.loads(_text(file, root, name)) if file.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        problem = f"its pyproject.toml cannot be read ({error})"
        raise DependenciesError(name, problem) from error


def _uv(declared: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = declared.get("tool", {}).get("uv", {})
    return found


def _lock(folder: Path, root: Path) -> Path | None:
    """Return the lock that is nearest above, for that of a workspace lies at its top."""
    for each in (folder, *folder.parents):
        if not each.is_relative_to(root):
            break
        if (each / "uv.lock").is_file():
            return each / "uv.lock"
    return None


def _bare(line: str) -> str:
    """Return a line without its comment, and without the sign that it goes on."""
    return re.sub(r"(?:^|\s)#.*", "", line).strip().removesuffix("\\").strip()
