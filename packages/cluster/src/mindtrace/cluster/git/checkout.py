"""`Checkout`: a commit of a repository in a folder of its own, for as long as somebody holds it."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from mindtrace.cluster.errors import CheckoutError, InvalidSourceError
from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import Patience
from mindtrace.cluster.git.removal import remove_folder, remove_oldest
from mindtrace.cluster.git.repository import MADE, Repository
from mindtrace.core.log import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from mindtrace.cluster.git.access import Access
    from mindtrace.cluster.git.source import Source

CLONES, CHECKOUTS = "repositories", "checkouts"
"""Where they are in a cache."""

KEPT = 50
"""Clones that are kept; those that were used longest ago are removed when there are more."""

_MADE_WITHIN = 60.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checked-out commit; `close` removes it. Use it as a context manager, or close it.

    If this process is killed, the next checkout in the same cache removes it.

    Attributes:
        root: The top of the checkout.
        folder: The folder in it to work in.
        commit: The commit, in full.
    """

    root: Path
    folder: Path
    commit: str
    _hold: Hold

    @classmethod
    def make(cls, source: Source, cache: Path, access: Access, stop: Event | None = None) -> Self:
        """Check out what a source says, with its submodules.

        Args:
            source: What to check out.
            cache: The folder for clones and checkouts, which threads and processes may share.
            access: What git may use.
            stop: Makes it give up at once.

        Raises:
            CheckoutError: There is no such repository, branch, commit or folder.
            InvalidSourceError: It may not be reached by that transport, or a link leads out of it.
            ImportError: GitPython or git is missing.
        """
        access.check(source)
        stop = stop or Event()
        repository = Repository(cache / CLONES, source, access, stop)
        folder = cache / CHECKOUTS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(cache)
        root = folder / uuid4().hex
        # not at once: somebody who sweeps looks at any that is there
        hold = Hold.wait(root.with_suffix(".lock"), Patience(_MADE_WITHIN, stop))
        try:
            with repository.held():
                commit = repository.check_out(root)
                # git notes them in the clone, which the next checkout makes its own again
                repository.add_submodules(root)
            inner = inside(root, source.working_dir, "working folder", source)
            return cls(root, inner, commit, hold)
        except BaseException:
            _remove(root, hold)
            raise

    def close(self) -> None:
        """Remove it."""
        if self._hold.is_held:
            _remove(self.root, self._hold)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def inside(root: Path, folder: str | None, what: str, source: Source) -> Path:
    """Return a folder of a checkout, links in its path followed.

    Raises:
        CheckoutError: It is not there.
        InvalidSourceError: A link leads out of the checkout.
    """
    found = (root / (folder or "")).resolve()
    if not found.is_relative_to(root.resolve()):
        problem = f"a link in {source.url} leads out of the checkout"
        raise InvalidSourceError(what, folder or "", problem)
    if not found.is_dir():
        raise CheckoutError(source.url, f"it has no folder {folder!r} to be the {what}")
    return found


def _remove(root: Path, hold: Hold) -> None:
    remove_folder(root)
    # what git keeps of it, the submodules among that, is called as its folder is
    for each in (root.parents[1] / CLONES).glob(f"*.git/worktrees/{root.name}"):
        remove_folder(each)
    hold.remove()


def _sweep(cache: Path) -> None:
    """Remove the checkouts whose processes are gone, and the clones that are too many."""
    for each in (cache / CHECKOUTS).glob("*.lock"):
        hold = Hold.attempt(each)
        if hold is not None:
            _log.info("The checkout %s was left behind; it is removed", each.stem)
            _remove(each.with_suffix(""), hold)
    remove_oldest((cache / CLONES).glob(f"*.git/{MADE}"), keep=KEPT, unless=_has_checkouts)


def _has_checkouts(clone: Path) -> bool:
    return any((clone / "worktrees").glob("*"))
