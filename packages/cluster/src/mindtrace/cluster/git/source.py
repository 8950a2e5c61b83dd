"""`Source`: what is checked out, from where. What git could take for an option, or for a program to
run, is refused here, before git sees it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from mindtrace.cluster.errors import InvalidSourceError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from mindtrace.cluster.core.types import ProxyWorker

TRANSPORTS = ("https", "ssh", "file", "http", "git")
"""The transports that run nothing on this machine but git and ssh themselves."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LIKE_SCP = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?([A-Za-z0-9][\w.-]*):(?![:-])[^@]+")
_HOST = re.compile(r"[A-Za-z0-9][\w.-]*|[0-9A-Fa-f:.]+")
_USER = re.compile(r"[A-Za-z0-9_][\w.-]*")
_HIDDEN = re.compile(r"^([A-Za-z][\w+.-]*://)?[^/]*@")
_REF = re.compile(r"\w[\w.+@=-]*(?:/\w[\w.+@=-]*)*")
_COMMIT = re.compile(r"[0-9A-Fa-f]{7,64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a repository, at one of its commits.

    Attributes:
        url: The repository: `https://...`, `ssh://...`, `user@host:path` or `file:///...`, without
            a password.
        branch: A branch or a tag; the default branch if there is no commit either.
        commit: A commit, of which 7 digits are enough; it wins over the branch.
        working_dir: The folder to work in, seen from the top of the repository.
        project: The folder of the `pyproject.toml` or `requirements.txt`; else the nearest at or
            above the working folder has it.

    Raises:
        InvalidSourceError: It is none, or not safe to be handed to git.
    """

    url: str
    branch: str | None = None
    commit: str | None = None
    working_dir: str | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        checked_url(self.url)
        _check_branch(self.branch)
        _check_commit(self.commit)
        _check_folder("working folder", self.working_dir)
        _check_folder("project", self.project)

    @classmethod
    def of(cls, worker: ProxyWorker) -> Self | None:
        """Return where a worker type comes from; None if not from a repository."""
        if worker.git_repo_url is None:
            return None
        return cls.said(
            worker.git_repo_url,
            worker.git_branch,
            worker.git_commit,
            worker.git_working_dir,
            worker.git_project,
        )

    @classmethod
    def said(cls, url: str, *words: str | None) -> Self:
        """Return what words say that come from outside: an empty one says as little as none.

        Args:
            url: The repository.
            words: Branch, commit, working folder and project.
        """
        return cls(url, *(each or None for each in words))

    @property
    def transport(self) -> str:
        """How git gets at it, one of `TRANSPORTS`."""
        found = _SCHEME.match(self.url)
        return found[1].lower() if found else "ssh"

    @property
    def owner(self) -> str:
        """The host, and the first part of the path: `github.com/mindtrace`."""
        parts = urlsplit(self.url)
        first = PurePosixPath(parts.path).parts[1:2]
        return "/".join([parts.netloc.lower(), *(each.lower() for each in first)])


def checked_url(url: str) -> str:
    """Return the address of a repository.

    Raises:
        InvalidSourceError: It is none, or would run something, or holds a password.
    """
    problem = _problem_of(url)
    if problem is not None:
        raise InvalidSourceError("repository", _shown(url), problem)
    return url


def _problem_of(url: str) -> str | None:
    if not unquote(url).isprintable() or " " in url:
        return "an address has no spaces and no control characters in it"
    scheme = _SCHEME.match(url)
    if scheme is None:
        return None if _LIKE_SCP.fullmatch(url) else _NO_ADDRESS
    if scheme[1].lower() not in TRANSPORTS:
        return f"the transport is none of {', '.join(TRANSPORTS)}"
    if "?" in url or "#" in url:
        return "an address has no '?' and no '#' in it"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return _NO_ADDRESS
    return _problem_of_parts(parts)


_NO_ADDRESS = (
    "it is no address: expected https://..., ssh://..., user@host:path or file:///folder; 'ext::' "
    "and its like are not taken"
)


def _problem_of_parts(parts: SplitResult) -> str | None:
    if parts.scheme == "file":
        return "it must be file:/// and an absolute path" if parts.netloc else None
    user = "" if parts.username is None else unquote(parts.username)
    if parts.password is not None or (user and parts.scheme != "ssh"):
        return (
            "a name or a password has no place in it; set MINDTRACE_CLUSTER__GIT_TOKEN, or a "
            "credential helper of git"
        )
    if user and not _USER.fullmatch(user):
        return "the user in it is none"
    if not _HOST.fullmatch(unquote(parts.hostname or "")):
        return "the host in it is none"
    return None


def _shown(url: str) -> str:
    """Return an address without what may be secret."""
    return _HIDDEN.sub(r"\1", re.split("[?#]", url)[0])[:200]


def _check_branch(branch: str | None) -> None:
    if branch is None:
        return
    if not _REF.fullmatch(branch) or ".." in branch or "@{" in branch or branch.endswith(".lock"):
        raise InvalidSourceError("branch", branch, "it is no name of a branch or a tag")


def _check_commit(commit: str | None) -> None:
    if commit is not None and not _COMMIT.fullmatch(commit):
        problem = "expected 7 to 64 hexadecimal digits; a tag is given as the branch"
        raise InvalidSourceError("commit", commit, problem)


def _check_folder(what: str, folder: str | None) -> None:
    if folder is None:
        return
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts:
        problem = "it must lie in the checkout: a relative path without '..'"
        raise InvalidSourceError(what, folder, problem)
    if not folder.isprintable():
        raise InvalidSourceError(what, folder, "a path has no control characters in it")
