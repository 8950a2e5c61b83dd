"""The samples of the cluster, run as a user runs them."""

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from mindtrace.core.net import is_port_available

pytestmark = pytest.mark.process

SAMPLES = Path(__file__).parent.parent / "samples" / "cluster"


class Place:
    """A folder to run samples in, with their state below it."""

    def __init__(self, folder: Path) -> None:
        self.cwd = folder / "cwd"
        self.cwd.mkdir()
        self.root = folder / "root"
        strange = ("MINDTRACE_", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES")
        inherited = {name: it for name, it in os.environ.items() if not name.startswith(strange)}
        self.env = inherited | {"MINDTRACE_DIR_PATHS__ROOT": str(self.root), "TERM": "xterm"}

    def run(
        self, sample: str, *words: str | Path, said: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run a sample to its end, without a terminal."""
        return subprocess.run(
            [sys.executable, "-W", "error", SAMPLES / sample, *words],
            cwd=self.cwd,
            env=self.env,
            input=said,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def started(self, theirs: int, sample: str, *words: str | Path) -> "subprocess.Popen[bytes]":
        """Start a sample in a terminal."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", SAMPLES / sample, *words],
            cwd=self.cwd,
            env=self.env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )

    def processes(self, name: str) -> list[int]:
        """Return the processes of services of that name."""
        return [int(each.read_text()) for each in self.root.glob(f"server_pids/{name}-*")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(condition: Callable[[], object], within: float = 60.0) -> None:
    end = monotonic() + within
    while not condition():
        assert monotonic() < end
        Event().wait(0.02)


def unexpected(stderr: str, expected: tuple[str, ...]) -> list[str]:
    """Return the lines that were said on the standard error, but for those that belong there."""
    return [line for line in stderr.splitlines() if not any(each in line for each in expected)]


def test_the_quick_start_runs_as_it_is_written(place: Place) -> None:
    first = next(
        port
        for port in range(23000, 30000, 3)
        if all(is_port_available("localhost", port + each) for each in range(3))
    )

    done = place.run("quickstart.py", str(first))

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"launch: (pending|running)\njob: queued\njob: completed, {'echoed': 'Hello cluster'}\n",
        done.stdout,
    )
    assert place.processes("*") == []
    assert list(place.cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("sample", "expected", "warnings"),
    [
        (
            "cluster_as_gateway.py",
            [
                "completed: ['to', 'be']",
                "through the gateway: echoed='hello'",
                "failed: HTTP 422",
                "dead letters: 1",
            ],
            ("is now a dead letter",),
        ),
        pytest.param(
            "cluster_with_prelaunched_workers.py",
            [
                "directly: {'uppercased': 'DIRECTLY!'}",
                "the last of 40: completed, {'uppercased': 'JOB 39!'}",
                "run by 2 workers",
                "  one of the type 'uppercase' is idle",
                "  one of the type 'uppercase' is idle",
            ],
            (),
            marks=pytest.mark.stress,
        ),
        pytest.param(
            "node_auto_connect.py",
            [
                "before any worker is there: queued",
                "echo_worker is ready",
                "the early job: completed",
                "on the node: echo_worker, mine",
                (
                    "odd: Worker did not start: 'no_such_module.Worker' cannot be imported: there "
                    "is no module 'no_such_module'."
                ),
                "after a kill: completed, {'echoed': 'still here'}",
            ],
            ("The worker odd did not start", "The worker echo_worker died"),
            marks=pytest.mark.stress,
        ),
        pytest.param(
            "dead_letters.py",
            [
                "failed: {'thing': 'an apple'}, because an apple came too early",
                "failed: {'thing': 'a pear'}, because a pear came too early",
                "failed: {'name': 'a mistake'}, KeyError: 'thing'",
                "requeued: completed, {'weighed': 'an apple'}",
                "requeued: completed, {'weighed': 'a pear'}",
                "left: 0",
            ],
            ("is now a dead letter",),
            marks=pytest.mark.stress,
        ),
        pytest.param(
            "run_script/run_script_worker.py",
            [
                "completed, exit code 0",
                "  hello you, from test_script.py with Python 3",
                "  variables of the worker seen: False",
                "failed, exit code 3",
                "  this one fails",
            ],
            ("is now a dead letter",),
        ),
        pytest.param(
            "worker_from_git.py",
            [
                "main: {'price': 1}",
                "main, after a commit: {'price': 2}",
                "the first commit: {'price': 1}",
                (
                    "no such branch: file://FOLDER cannot be checked out: it has no branch or tag "
                    "'no-such-branch'."
                ),
            ],
            ("The worker clerk did not start",),
            marks=pytest.mark.stress,
        ),
    ],
)
def test_a_sample_shows_what_it_says(
    place: Place, sample: str, expected: list[str], warnings: tuple[str, ...]
) -> None:
    done = place.run(sample)

    assert (done.returncode, unexpected(done.stderr, warnings)) == (0, [])
    assert re.sub(r"file://\S+", "file://FOLDER", done.stdout).splitlines() == expected
    assert place.processes("*") == []
    assert list(place.cwd.iterdir()) == []


@pytest.mark.stress
def test_dead_letters_ask_if_they_are_told_to(place: Place) -> None:
    done = place.run("dead_letters.py", "--ask", said="r\nd\nq\n")

    assert (done.returncode, unexpected(done.stderr, ("is now a dead letter",))) == (0, [])
    assert "requeued: completed, {'weighed': 'an apple'}\nleft: 1\n" in done.stdout


# analyse_logs.py


def findings(place: Place, folder: Path, *words: str) -> dict[str, Any]:
    file = place.cwd / "found.json"
    done = place.run("analyse_logs.py", folder, "--json", file, *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    return found | {"output": done.stdout}


def test_logs_are_counted_packed_or_not_and_whatever_they_are_called(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    (folder / "sub").mkdir(parents=True)
    lines = [
        b"2026-01-01 INFO started in 12 ms",
        b"2026-01-01 ERROR no route to 'db1' after 3 tries",
        b"2026-01-02 ERROR no route to 'db2' after 4 tries",
        b"[WARN] disk \xff\x1b[31m nearly full",
        b"nothing of interest, nor INFORMATION",
    ]
    plain = b"\n".join(lines)
    (folder / "app.log").write_bytes(plain)
    (folder / "sub" / "app.log.1.gz").write_bytes(gzip.compress(plain + b"\nFATAL out of memory\n"))
    (folder / os.fsdecode(b"caf\xe9\x1b[2J.log")).write_bytes(b"ERROR 7\n" * 100_000)
    (folder / "cut.gz").write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:3000])
    (folder / "binary").write_bytes(b"ERROR\0")
    (folder / "empty").touch()

    found = findings(place, folder, "--workers", "2")

    assert found["levels"] == {"INFO": 2, "ERROR": 100_004, "WARNING": 2, "CRITICAL": 1}
    assert found["lines"] == 5 + 6 + 100_000
    assert found["kinds"]["ERROR no route to # after # tries"] == 4
    assert {Path(path).name: loud for path, loud in found["loudest"].items()} == {
        "app.log": 3,
        "app.log.1.gz": 4,
        os.fsdecode(b"caf\xe9\x1b[2J.log"): 100_000,
    }
    assert found["binary"] + found["files"] == 6
    assert [Path(path).name for path in found["unreadable"]] == ["cut.gz"]
    assert "no route to" in found["output"]
    assert {each for each in found["output"] if not each.isprintable()} == {"\n"}


def test_what_cannot_be_analysed_is_refused_in_one_sentence(place: Place, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()

    missing = place.run("analyse_logs.py", tmp_path / "missing")
    empty = place.run("analyse_logs.py", tmp_path / "nothing")

    assert missing.returncode == empty.returncode == 2
    assert missing.stderr == f"{tmp_path}/missing cannot be used: No such file or directory.\n"
    assert empty.stderr == f"There are no files in {tmp_path}/nothing.\n"


@pytest.mark.stress
def test_a_worker_that_is_killed_meanwhile_changes_nothing(place: Place) -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    undisturbed = findings(place, folder)
    file = place.cwd / "found.json"
    ours, theirs = pty.openpty()
    with place.started(theirs, "analyse_logs.py", folder, "--json", file) as sample:
        os.close(theirs)
        text = read_until(ours, rb"job ([5-9]|1\d) ")
        os.kill(place.processes("LogWorker")[0], signal.SIGKILL)
        text += read_until(ours, None)
    os.close(ours)

    assert sample.returncode == 0
    # the node launches it anew, unless it was killed before it was wholly connected
    assert b" died" in text or b" did not start" in text
    found = json.loads(file.read_text())
    assert found == {name: value for name, value in undisturbed.items() if name != "output"}


@pytest.mark.stress
def test_ctrl_c_ends_all_and_gives_the_terminal_back(place: Place) -> None:
    ours, theirs = pty.openpty()
    with place.started(theirs, "analyse_logs.py") as sample:
        os.close(theirs)
        read_until(ours, rb"job ([5-9]|1\d) ")
        sample.send_signal(signal.SIGINT)
        text = read_until(ours, None)
    os.close(ours)

    assert sample.returncode == 130
    assert b"Stopped." in text
    assert b"Traceback" not in text
    assert text.rfind(b"\x1b[?25h") > text.rfind(b"\x1b[?25l")
    until(lambda: not place.processes("*"))


def read_until(terminal: int, pattern: bytes | None) -> bytes:
    """Read until a pattern shows up, or to the end."""
    text = b""
    while pattern is None or not re.search(pattern, text):
        try:
            text += os.read(terminal, 65536)
        except OSError:  # nobody has the terminal any more
            assert pattern is None, text[-3000:]
            break
    return text
