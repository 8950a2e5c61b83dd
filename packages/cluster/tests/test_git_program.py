"""What becomes of programs that work for us, and of files that are held."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import IO

import pytest
from cluster_support import eventually

from mindtrace.cluster.git import program
from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import GivenUpError, Patience, output_of
from mindtrace.cluster.git.removal import remove_folder

pytestmark = pytest.mark.process


def started(script: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def is_gone(pid_file: Path) -> bool:
    return not (Path("/proc") / pid_file.read_text().strip()).exists()


def test_a_program_is_heard_to_its_end() -> None:
    process = started("echo this; echo that >&2; exit 3")

    assert output_of(process, Patience(60)) == ("this\n", "that\n")
    assert process.returncode == 3


def test_what_a_program_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    process = started(f"sleep 600 & echo $! > {tmp_path}/pid; echo this; exit 3")

    assert output_of(process, Patience(60)) == ("this\n", "")
    assert process.returncode == 3
    eventually(lambda: is_gone(tmp_path / "pid"))


def test_what_hides_from_its_program_is_not_waited_for_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_READ_WITHIN", 0.5)
    process = started(f"echo this; setsid sleep 600 & echo $! > {tmp_path}/pid; exit 3")

    assert output_of(process, Patience(60)) == ("this\n", "")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


class Busy:
    """Has ended, on a machine where it takes long to read what it wrote."""

    pid = 2**22 + 1  # nobody's: it is above the highest
    stdout: IO[bytes] | None = None
    stderr: IO[bytes] | None = None

    def poll(self) -> int:
        return 0

    def communicate(self, *, timeout: float | None = None) -> tuple[bytes, bytes]:
        if timeout is not None and timeout < 5:
            raise subprocess.TimeoutExpired("program", timeout, b"beginning")
        return b"beginning and end", b""


def test_a_busy_machine_loses_nothing_that_a_program_wrote() -> None:
    assert output_of(Busy(), Patience(60)) == ("beginning and end", "")


def test_a_program_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    process = started(f"sleep 600 & echo $! > {tmp_path}/pid; sleep 600")
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())

    with pytest.raises(GivenUpError, match=r"it took longer than 0\.1 s"):
        output_of(process, Patience(0.1))

    assert process.returncode == -9
    eventually(lambda: is_gone(tmp_path / "pid"))


def test_a_file_is_held_by_one_or_shared_by_many(tmp_path: Path) -> None:
    path = tmp_path / "file.lock"
    with Hold.wait(path, Patience(60)):
        assert Hold.attempt(path) is None
        assert Hold.attempt(path, shared=True) is None
    first, second = Hold.attempt(path, shared=True), Hold.attempt(path, shared=True)
    assert first is not None
    assert second is not None
    assert Hold.attempt(path) is None
    first.release()
    first.release()
    assert Hold.attempt(path) is None
    second.release()
    alone = Hold.attempt(path)
    assert alone is not None
    alone.release()


def test_who_waits_for_a_file_that_is_removed_holds_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file.lock"
    first = Hold.wait(path, Patience(60))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Hold.wait, path, Patience(60))
        first.remove()
        second = waiting.result(60)

    assert path.exists()
    assert Hold.attempt(path) is None
    second.release()


def test_nobody_waits_for_a_file_for_ever(tmp_path: Path) -> None:
    path, stop = tmp_path / "file.lock", Event()
    with Hold.wait(path, Patience(60)):
        with pytest.raises(GivenUpError, match="took longer"):
            Hold.wait(path, Patience(0.1))
        stop.set()
        with pytest.raises(GivenUpError, match="it was stopped"):
            Hold.wait(path, Patience(60, stop))


def test_a_program_that_was_given_it_holds_a_file_on(tmp_path: Path) -> None:
    """So a clone stays held while git works on it, be the process that started it killed."""
    path = tmp_path / "file.lock"
    hold = Hold.wait(path, Patience(60))
    process = subprocess.Popen(["sleep", "600"], pass_fds=[hold.descriptor])
    hold.release()

    assert Hold.attempt(path) is None
    process.kill()
    process.wait()
    Hold.wait(path, Patience(60)).release()


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """Lend a folder of a user to whom something is forbidden, who this process is meanwhile."""
    nobody, root = 65534, os.geteuid() == 0
    with tempfile.TemporaryDirectory() as made:
        if root:
            os.chown(made, nobody, -1)
            os.seteuid(nobody)
        try:
            yield Path(made)
        finally:
            if root:
                os.seteuid(0)


def test_a_folder_is_removed_where_rights_were_taken_away(ordinary: Path) -> None:
    folder, outside = ordinary / "folder", ordinary / "outside"
    outside.mkdir(mode=0o750)
    (folder / "a" / "shut").mkdir(parents=True)
    (folder / "a" / "shut" / "file").touch()
    (folder / "a" / "link").symlink_to(outside)
    (folder / "a" / "shut").chmod(0)
    (folder / "a").chmod(0o500)

    remove_folder(folder)

    assert not folder.exists()
    assert outside.stat().st_mode & 0o777 == 0o750
