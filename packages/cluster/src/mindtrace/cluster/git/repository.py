"""`Repository`: the clone of a repository that all checkouts of it share."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mindtrace.cluster.errors import CheckoutError
from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import GivenUpError, Patience, give_up, output_of
from mindtrace.cluster.git.removal import remove_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from threading import Event

    from mindtrace.cluster.git.access import Access
    from mindtrace.cluster.git.program import Process
    from mindtrace.cluster.git.source import Source

FETCH_WITHIN = 1800.0
"""Seconds that a fetch or a checkout may take."""

MADE = "mindtrace-made"
"""The file that says of a clone that it is one; it changes whenever the clone is used."""

_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[remote "origin"]
\turl = "{url}"
"""
_OF_NOBODY = ("config.worktree", "info/attributes", "info/grafts", "shallow")
"""Files of a clone that we never write, and that change what is checked out."""

_LOCKED_WITHIN = 3 * FETCH_WITHIN
_EVERYTHING = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FULL = (40, 64)
"""The lengths of a whole commit id."""

_NO_GIT = "The program git is not installed."
_SHOWN = 600
_WANTS_CREDENTIALS = re.compile(
    "could not read Username|Authentication failed|terminal prompts disabled", re.IGNORECASE
)


class Repository:
    """A bare clone in a folder that threads and processes share.

    Args:
        folder: The folder of all clones.
        source: What it is a clone of.
        access: What git may use.
        stop: Makes git give up at once.
    """

    def __init__(self, folder: Path, source: Source, access: Access, stop: Event) -> None:
        self.path = folder / f"{hashlib.sha256(source.url.encode()).hexdigest()[:24]}.git"
        self._source = source
        self._access = access
        self._stop = stop
        self._hold: Hold | None = None

    @contextmanager
    def held(self) -> Generator[None]:
        """Keep others from changing the clone meanwhile.

        Raises:
            CheckoutError: They take too long.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        patience = Patience(_LOCKED_WITHIN, self._stop)
        try:
            self._hold = Hold.wait(self.path.with_suffix(".lock"), patience)
        except GivenUpError as error:
            raise self._error(f"{error}, waiting for another checkout of it") from None
        try:
            with self._hold:
                yield
        finally:
            self._hold = None

    def check_out(self, path: Path) -> str:
        """Put what is wanted into a new folder, and return its commit, in full; only while held.

        Raises:
            CheckoutError: There is no such repository, branch or commit, or it did not work.
        """
        self._prepare()
        if self._source.commit is None:
            # most often it did not move, so its last commit is put there while the origin is asked
            asked = self._start("ls-remote", "origin", *self._names())
            try:
                last = self._last()
                added = last if last is not None and self._was_added(path, last) else None
            except BaseException:
                give_up(asked)
                raise
            commit = self._tip(self._said(asked) or "")
            if added not in {None, commit}:
                for each in (path, self.path / "worktrees" / path.name):
                    remove_folder(each)
        else:
            commit, added = self._source.commit.lower(), None
        # nor is it asked first whether what is named in full is there
        if added != commit and not (len(commit) in _FULL and self._was_added(path, commit)):
            self._add(path, self._found(commit))
        # a tag may be an object of its own, which git has followed
        return (self.path / "worktrees" / path.name / "HEAD").read_text("ascii").strip()

    def _was_added(self, path: Path, commit: str) -> bool:
        try:
            self._add(path, commit)
        except CheckoutError:
            if self._known(commit) is not None:
                raise
            return False
        return True

    def _add(self, path: Path, commit: str) -> None:
        self._git("worktree", "add", "--quiet", "--force", "--detach", str(path), commit)

    # finding a commit

    def _found(self, wanted: str) -> str:
        """Return a commit in full, fetched if it is not there."""
        found = self._known(wanted)
        if found is None:
            self._fetch(*_EVERYTHING)
            found = self._known(wanted)
        if found is None and len(wanted) in _FULL:
            # of no branch and no tag any more, but a server may have it all the same
            self._git("fetch", "--quiet", "--no-tags", "origin", wanted, check=False)
            found = self._known(wanted)
        if found is None:
            raise self._error(f"it has no commit {wanted}")
        return found

    def _names(self) -> list[str]:
        branch = self._source.branch
        return ["HEAD"] if branch is None else [f"refs/heads/{branch}", f"refs/tags/{branch}"]

    def _last(self) -> str | None:
        """Return the commit that the branch or tag had when it was last fetched, if that is known.

        What git has packed is not looked for: it is only sooner found.
        """
        for each in self._names():
            with suppress(OSError):
                found = (self.path / each).read_text("ascii", "replace").strip()
                if len(found) in _FULL:
                    return found
        return None

    def _tip(self, said: str) -> str:
        """Return the commit that the branch or tag has at this moment, by what the origin says."""
        branch, names = self._source.branch, self._names()
        lines = (line.partition("\t") for line in said.splitlines())
        tips = {name: commit for commit, _, name in lines}
        tip = next((tips[name] for name in names if name in tips), None)
        if tip is None:
            lacks = "default branch; name one" if branch is None else f"branch or tag {branch!r}"
            raise self._error(f"it has no {lacks}")
        return tip

    def _known(self, commit: str) -> str | None:
        found = self._git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False)
        # a branch may be called like the beginning of a commit
        return found if found and (found.startswith(commit) or len(commit) in _FULL) else None

    def _fetch(self, *what: str) -> None:
        self._git("fetch", "--quiet", "--prune", "--no-tags", "origin", *what)

    def _prepare(self) -> None:
        made = self.path / MADE
        if not made.exists():
            self._git("init", "--quiet", "--bare", str(self.path), cwd=self.path.parent)
        self._undo()
        made.touch()  # also says when it was used last
        # a git that was killed left them behind: one that runs would have the clone held
        for each in [*self.path.glob("*.lock"), *self.path.glob("refs/**/*.lock")]:
            each.unlink(missing_ok=True)

    def _undo(self) -> None:
        """Make settings again what they were: git and commands in checkouts change them for all."""
        quoted = self._source.url.replace("\\", "\\\\").replace('"', '\\"')
        ours = _CONFIG.format(url=quoted)
        config = self.path / "config"
        is_file = config.is_file() and not config.is_symlink()
        if not is_file or config.read_text("utf-8", "replace") != ours:
            config.unlink(missing_ok=True)
            config.write_text(ours, "utf-8")
        for each in _OF_NOBODY:
            (self.path / each).unlink(missing_ok=True)

    def add_submodules(self, path: Path) -> None:
        """Put the submodules into a checkout, and theirs.

        Raises:
            CheckoutError: It did not work, or one of them is not to be reached so.
        """
        if (path / ".gitmodules").is_file():
            words = ("submodule", "--quiet", "update", "--init", "--recursive")
            self._git(*words, cwd=path)

    # git

    def _git(self, *words: str, cwd: Path | None = None, check: bool = True) -> str | None:
        """Run git, and return what it says; see `_start` and `_said`."""
        return self._said(self._start(*words, cwd=cwd), check=check)

    def _start(self, *words: str, cwd: Path | None = None) -> Process:
        """Start git.

        Args:
            words: The words after `git`.
            cwd: The folder of a checkout, or above the clone; else it is about the clone.
        """
        library = gitpython()
        git = library.Git(str(cwd or self.path))
        # said, since an inherited variable could mean another one
        where = [] if cwd else [f"--git-dir={self.path}"]
        try:
            process: Process = git.execute(
                [git.GIT_PYTHON_GIT_EXECUTABLE, *where, *words],
                as_process=True,
                start_new_session=True,
                env=self._access.variables(self._source),
                # the clone is held for as long as git runs, be this process killed
                pass_fds=[self._hold.descriptor] if self._hold else [],
            )
        except library.GitCommandNotFound as error:
            raise ImportError(_NO_GIT) from error
        return process

    def _said(self, process: Process, *, check: bool = True) -> str | None:
        """Return what git says in the end; None if it fails and that is not checked."""
        try:
            output, errors = output_of(process, Patience(FETCH_WITHIN, self._stop))
        except GivenUpError as error:
            raise self._error(f"{error}") from None
        if process.poll() == 0:
            return output.strip()
        if check:
            raise self._error(_reason(errors))
        return None

    def _error(self, problem: str) -> CheckoutError:
        return CheckoutError(self._source.url, problem)


def _reason(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    text = "; ".join(told)[-_SHOWN:].rstrip(".") or "git failed, and does not say why"
    if _WANTS_CREDENTIALS.search(text):
        text += ". Set MINDTRACE_CLUSTER__GIT_TOKEN, or a credential helper of git"
    return text


# Any: the module is not there for everybody
def gitpython() -> Any:
    """Return GitPython.

    Raises:
        ImportError: It is not installed, or git is not.
    """
    try:
        import git  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError as error:
        if error.name != "git":
            raise
        message = "GitPython is not installed: pip install 'mindtrace-cluster[git]'"
        raise ImportError(message) from error
    except ImportError as error:
        raise ImportError(_NO_GIT) from error
    return git
