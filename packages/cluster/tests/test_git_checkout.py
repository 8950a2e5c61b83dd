"""Commits get out of real repositories into folders, and nothing else does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from cluster_support import eventually
from git_support import Origin

from mindtrace.cluster.errors import CheckoutError, InvalidSourceError
from mindtrace.cluster.git import checkout as checkouts
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.git.checkout import Checkout
from mindtrace.cluster.git.source import Source

pytestmark = pytest.mark.process

ACCESS = Access()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cache"
    yield folder
    assert [each.name for each in folder.glob("checkouts/*")] == [], "a checkout is left"
    assert list(folder.glob("repositories/*.git/worktrees/*")) == [], "git still knows of one"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    origin = Origin(tmp_path / "origin")
    origin.commit({"a.txt": "one", "worker/b.txt": "one"})
    return origin


def read(origin: Origin, cache: Path, *, file: str = "a.txt", **named: str) -> str:
    """Check out and return what is in a file."""
    with Checkout.make(Source(origin.url, **named), cache, ACCESS) as checkout:
        return (checkout.folder / file).read_text()


def test_the_default_branch_a_branch_a_tag_and_a_commit_are_checked_out(
    origin: Origin, cache: Path
) -> None:
    first = origin.git("rev-parse", "HEAD")
    origin.git("tag", "--annotate", "--message=x", "v1")
    origin.git("switch", "--quiet", "--create", "side/branch")
    origin.commit({"a.txt": "side"})
    origin.git("switch", "--quiet", "main")
    origin.commit({"a.txt": "two"})

    assert read(origin, cache) == "two"
    assert read(origin, cache, branch="side/branch") == "side"
    assert read(origin, cache, branch="v1") == "one"
    assert read(origin, cache, commit=first) == "one"
    assert read(origin, cache, commit=first[:7].upper(), branch="side/branch") == "one"
    with Checkout.make(Source(origin.url, "v1", working_dir="worker"), cache, ACCESS) as checkout:
        assert checkout.commit == first
        assert checkout.folder == checkout.root / "worker"
        assert (checkout.folder / "b.txt").read_text() == "one"


def test_a_branch_that_moved_is_fetched_and_one_that_was_replaced_as_well(
    origin: Origin, cache: Path
) -> None:
    origin.git("branch", "topic")
    assert read(origin, cache, branch="topic") == "one"
    origin.git("branch", "--delete", "--force", "topic")
    origin.git("switch", "--quiet", "--create", "topic/below")
    origin.commit({"a.txt": "two"})

    assert read(origin, cache, branch="topic/below") == "two"

    origin.commit({"a.txt": "three"})
    origin.git("reset", "--quiet", "--soft", "HEAD~2")
    origin.commit()
    assert read(origin, cache, branch="topic/below") == "three"


def test_a_branch_that_moved_leaves_nothing_of_where_it_was(origin: Origin, cache: Path) -> None:
    source = Source(origin.url, "main")
    first = origin.git("rev-parse", "HEAD")
    origin.commit({"later": "x"})
    with Checkout.make(source, cache, ACCESS) as checkout:
        assert (checkout.root / "later").exists()
    origin.git("reset", "--quiet", "--hard", first)
    with Checkout.make(source, cache, ACCESS) as checkout:
        assert checkout.commit == first
        assert not (checkout.root / "later").exists()
        assert len(list(cache.glob("repositories/*.git/worktrees/*"))) == 1
    assert list(cache.glob("repositories/*.git/worktrees/*")) == []


def test_a_commit_that_is_known_needs_no_origin(origin: Origin, cache: Path) -> None:
    commit = origin.git("rev-parse", "HEAD")
    assert read(origin, cache, commit=commit) == "one"
    origin.folder.rename(origin.folder.with_name("gone"))

    assert read(origin, cache, commit=commit) == "one"
    with pytest.raises(CheckoutError, match=r"origin cannot be checked out: .*repository"):
        read(origin, cache, branch="main")


def test_a_commit_of_no_branch_is_fetched_by_its_id(origin: Origin, cache: Path) -> None:
    lonely = origin.commit({"a.txt": "lonely"})
    origin.git("reset", "--quiet", "--hard", "HEAD~1")
    origin.git("config", "uploadpack.allowAnySHA1InWant", "true")

    assert read(origin, cache, commit=lonely) == "lonely"


def test_a_branch_called_like_the_beginning_of_a_commit_is_not_taken_for_it(
    origin: Origin, cache: Path
) -> None:
    first = origin.git("rev-parse", "HEAD")
    origin.commit({"a.txt": "two"})
    origin.git("branch", first[:8])

    with pytest.raises(CheckoutError, match=f"it has no commit {first[:8]}"):
        read(origin, cache, commit=first[:8])
    assert read(origin, cache, commit=first) == "one"


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"branch": "nowhere"}, "it has no branch or tag 'nowhere'"),
        ({"commit": "0" * 40}, "it has no commit 0000000000"),
        ({"commit": "abcdef0"}, "it has no commit abcdef0"),
        ({"working_dir": "nowhere"}, "it has no folder 'nowhere' to be the working folder"),
        ({"working_dir": "a.txt"}, "it has no folder 'a.txt' to be the working folder"),
        ({"working_dir": ".git"}, "it has no folder '.git' to be the working folder"),
    ],
)
def test_what_is_not_there_is_named(
    origin: Origin, cache: Path, named: dict[str, str], problem: str
) -> None:
    with pytest.raises(CheckoutError, match=f"origin cannot be checked out: {problem}"):
        read(origin, cache, **named)


def test_a_repository_that_is_not_there_or_empty_is_named(tmp_path: Path, cache: Path) -> None:
    nothing = Source(f"file://{tmp_path}/nothing")
    with pytest.raises(CheckoutError, match=r"nothing cannot be checked out: .*does not appear"):
        Checkout.make(nothing, cache, ACCESS)

    empty = Origin(tmp_path / "empty")
    with pytest.raises(CheckoutError, match="it has no default branch; name one"):
        read(empty, cache)


def test_a_transport_that_is_not_allowed_is_not_tried(origin: Origin, cache: Path) -> None:
    with pytest.raises(InvalidSourceError, match="the transport file is not among those of"):
        Checkout.make(Source(origin.url), cache, Access(transports=frozenset({"ssh"})))


def test_without_the_extra_or_without_git_it_is_said_what_to_install(
    origin: Origin, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = origin.url
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ImportError, match=r"The program git is not installed\."):
        Checkout.make(Source(url), cache, ACCESS)

    monkeypatch.setitem(sys.modules, "git", None)
    with pytest.raises(ImportError, match=r"pip install 'mindtrace-cluster\[git\]'"):
        Checkout.make(Source(url), cache, ACCESS)


# what a repository may try


def test_a_submodule_that_moved_is_taken_from_where_it_is_now(
    tmp_path: Path, origin: Origin, cache: Path
) -> None:
    for name in ("one", "two"):
        Origin(tmp_path / name).commit({"here": name})
    origin.git("submodule", "--quiet", "add", f"file://{tmp_path}/one", "inner")
    origin.commit()
    assert read(origin, cache, file="inner/here") == "one"

    origin.git("config", "--file=.gitmodules", "submodule.inner.url", f"file://{tmp_path}/two")
    origin.git("submodule", "--quiet", "sync")
    origin.git("-C", "inner", "fetch", "--quiet")
    origin.git("-C", "inner", "checkout", "--quiet", "origin/main")
    origin.commit()
    assert read(origin, cache, file="inner/here") == "two"


@pytest.mark.parametrize("target", ["/", "/etc", "../../..", "worker/../../.."])
def test_a_link_does_not_lead_out_of_the_checkout(origin: Origin, cache: Path, target: str) -> None:
    (origin.folder / "out").symlink_to(target)
    (origin.folder / "in").symlink_to("worker")
    origin.commit()

    assert read(origin, cache, working_dir="in", file="b.txt") == "one"
    with pytest.raises(InvalidSourceError, match=r"a link in .* leads out of the checkout"):
        read(origin, cache, working_dir="out")


def test_a_submodule_is_checked_out_and_those_in_it(
    tmp_path: Path, origin: Origin, cache: Path
) -> None:
    inner, middle = Origin(tmp_path / "inner"), Origin(tmp_path / "middle")
    inner.commit({"c.txt": "inner"})
    middle.git("submodule", "--quiet", "add", inner.url, "inner")
    middle.commit({"c.txt": "middle"})
    origin.git("submodule", "--quiet", "add", "../middle", "middle")
    origin.commit()

    assert read(origin, cache, file="middle/c.txt") == "middle"
    assert read(origin, cache, file="middle/inner/c.txt") == "inner"


@pytest.mark.parametrize("url", ["ext::touch {}", "-u touch {}", "--upload-pack=touch {}"])
def test_a_submodule_runs_nothing(tmp_path: Path, origin: Origin, cache: Path, url: str) -> None:
    proof = tmp_path / "proof"
    inner = Origin(tmp_path / "inner")
    inner.commit()
    origin.git("submodule", "--quiet", "add", inner.url, "inner")
    origin.git("config", "--file=.gitmodules", "submodule.inner.url", url.format(proof))
    origin.git("config", "--file=.gitmodules", "submodule.inner.update", f"!touch {proof}")
    origin.commit()

    with pytest.raises(CheckoutError, match="cannot be checked out"):
        read(origin, cache)
    assert not proof.exists()


def test_what_a_template_or_a_job_left_in_a_clone_does_not_run(
    origin: Origin, cache: Path, tmp_path: Path
) -> None:
    read(origin, cache)
    (clone,) = cache.glob("repositories/*.git")
    proof = tmp_path / "proof"
    for name in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        hook = clone / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {proof}\n")
        hook.chmod(0o755)
    origin.commit({"a.txt": "two"})

    assert read(origin, cache) == "two"
    assert not proof.exists()


# sharing, and what is left behind


def test_many_may_check_out_at_the_same_time(origin: Origin, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(read, origin, cache) for _ in range(8)]
        found = [each.result(60) for each in reading]

    assert found == ["one"] * 8
    assert len(list(cache.glob("repositories/*.git"))) == 1


def test_each_has_a_checkout_of_its_own(origin: Origin, cache: Path) -> None:
    source = Source(origin.url)
    with Checkout.make(source, cache, ACCESS) as one, Checkout.make(source, cache, ACCESS) as two:
        (one.folder / "a.txt").write_text("changed")
        assert (two.folder / "a.txt").read_text() == "one"
        one.close()
        one.close()
        assert (two.folder / "a.txt").exists()
        assert not one.root.exists()


def test_a_checkout_is_removed_whatever_was_done_in_it(origin: Origin, cache: Path) -> None:
    outside = cache.parent / "outside"
    outside.mkdir(mode=0o750)
    checkout = Checkout.make(Source(origin.url), cache, ACCESS)
    shut = checkout.folder / "worker" / "shut"
    shut.mkdir()
    (shut / "file").touch()
    (checkout.folder / "worker" / "link").symlink_to(outside)
    shut.chmod(0)
    (checkout.folder / "worker").chmod(0)

    checkout.close()

    assert not checkout.root.exists()
    assert outside.stat().st_mode & 0o777 == 0o750


KILLED = """
import os, signal, sys
from pathlib import Path
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.git.checkout import Checkout
from mindtrace.cluster.git.source import Source

Checkout.make(Source(sys.argv[1]), Path(sys.argv[2]), Access())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_behind_is_removed_by_the_next(
    origin: Origin, cache: Path
) -> None:
    mine = Checkout.make(Source(origin.url), cache, ACCESS)
    done = subprocess.run([sys.executable, "-c", KILLED, origin.url, str(cache)], check=False)
    assert done.returncode == -9
    assert len(list(cache.glob("checkouts/*.lock"))) == 2
    (clone,) = cache.glob("repositories/*.git")
    (clone / "refs" / "heads" / "main.lock").touch()
    (clone / "packed-refs.lock").touch()
    origin.commit({"a.txt": "two"})

    assert read(origin, cache) == "two"

    assert [each.name for each in cache.glob("checkouts/*.lock")] == [f"{mine.root.name}.lock"]
    mine.close()


def test_a_clone_that_was_not_used_for_long_makes_room(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkouts, "KEPT", 1)
    origins = [Origin(tmp_path / name) for name in ("one", "two", "three")]
    for each in origins:
        each.commit({"a.txt": each.folder.name})
    in_use = Checkout.make(Source(origins[0].url), cache, ACCESS)
    for number, each in enumerate(cache.glob("repositories/*.git/mindtrace-made")):
        os.utime(each, (number, number))
    assert read(origins[1], cache) == "two"
    assert read(origins[2], cache) == "three"
    assert len(list(cache.glob("repositories/*.git"))) == 3
    in_use.close()

    assert read(origins[2], cache) == "three"

    assert len(list(cache.glob("repositories/*.git"))) == 1


def test_a_fetch_that_hangs_ends_when_it_is_to_stop(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here ssh is a program that waits for ever."""
    begun, program = tmp_path / "begun", tmp_path / "ssh"
    program.write_text(
        f"#!/bin/sh\necho $$ > {begun}.new; mv {begun}.new {begun}\nexec sleep 600\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(program))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Checkout.make, Source("git@host:repo"), cache, ACCESS, stop)
        eventually(begun.exists)
        stop.set()
        with pytest.raises(CheckoutError, match="git@host:repo cannot be checked out: it was sto"):
            waiting.result(60)

    process = Path("/proc") / begun.read_text().strip()
    eventually(lambda: not process.exists())
