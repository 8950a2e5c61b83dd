"""Every sample, run as a user runs it; the main one also through a real terminal."""

import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any, Self

import psutil
import pytest

pytestmark = pytest.mark.process

SAMPLES = Path(__file__).parent.parent / "samples" / "jobs"
TAKES_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
ROWS, COLUMNS = 50, 120
MEBIBYTE = 1 << 20
CPU_SECONDS = 2.0


class Place:
    """A folder to run samples in, with their state below it."""

    def __init__(self, folder: Path) -> None:
        self.cwd = folder / "cwd"
        self.cwd.mkdir()
        self.state = folder / "root" / "index_files"
        colours = {"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES"}
        inherited = {name: value for name, value in os.environ.items() if name not in colours}
        self.env = inherited | {"MINDTRACE_DIR_PATHS__ROOT": str(folder / "root"), "TERM": "xterm"}

    def run(
        self, sample: str, *words: str | Path, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a sample to its end, without a terminal."""
        return subprocess.run(
            [sys.executable, SAMPLES / sample, *words],
            cwd=self.cwd,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def index(self, folder: Path, *words: str) -> dict[str, Any]:
        """Index a folder, expect success, and return what it wrote as JSON."""
        file = self.cwd / "rows.json"
        done = self.run("index_files.py", folder, "--json", file, "--consumers", "2", *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        content: dict[str, Any] = json.loads(file.read_text())
        file.unlink()
        return content | {"output": done.stdout}


class Terminal:
    """A sample in a terminal of its own, where Ctrl-C reaches all its processes."""

    def __init__(self, place: Place, *words: str | Path) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKES_TERMINAL, SAMPLES / "index_files.py", *words],
            cwd=place.cwd,
            env=place.env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def read_until(self, pattern: str) -> "re.Match[str]":
        """Read until the pattern shows up in all that was written."""
        while not (found := re.search(pattern, self.text)):
            assert self._read(), f"no {pattern} in {self.text}"
        return found

    def read_to_end(self) -> int:
        """Read what is left, and return the exit code."""
        while self._read():
            pass
        return self.process.wait()

    def press_ctrl_c(self) -> None:
        os.write(self._ours, b"\x03")

    def consumers(self) -> list[psutil.Process]:
        """Return the consumer processes."""
        found: list[psutil.Process] = []
        for each in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if "multiprocessing.spawn" in " ".join(each.cmdline()):
                    found.append(each)
        return found

    def screen(self) -> list[str]:
        """Return the lines that a person sees in the end."""
        return shown_by_terminal(self.text)

    def _read(self) -> bool:
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # the last process has let go of the terminal
            return False
        self.text += piece.decode()
        return bool(piece)


def shown_by_terminal(text: str) -> list[str]:
    """Obey what moves the cursor or erases, and fail at what this terminal does not know."""
    lines, row, column = [""], 0, 0
    text = re.sub(r"\x1b\[([\d;]*m|\?25[hl])", "", text)  # colours; the cursor hidden and shown
    for token in re.findall(r"\x1b\[\d*[A-Z]|.", text, re.DOTALL):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[1A":
            row -= 1
        elif token == "\x1b[2K":
            lines[row] = ""
        else:
            assert token.isprintable(), f"an unknown control code: {token!r}"
            assert column < COLUMNS - 1, f"beyond the edge: {lines[row]}"
            lines[row] = lines[row].ljust(column)[:column] + token + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def sha256sums(files: Sequence[str]) -> dict[str, str]:
    """Ask the command of that name."""
    said = subprocess.run(
        ["sha256sum", "--zero", "--", *files], capture_output=True, check=True
    ).stdout
    return {os.fsdecode(line[66:]): line[:64].decode() for line in said.split(b"\0") if line}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder that takes seconds to index, however fast the machine is, and next to no room."""
    began = process_time()
    hashlib.sha256(bytes(8 * MEBIBYTE)).digest()
    size = int(8 * MEBIBYTE / (process_time() - began) * CPU_SECONDS / 1000)
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(1000):
        with (folder / f"{number:04}.bin").open("wb") as file:
            file.write(b"%d\n" % number)
            file.truncate(size)
    return folder


def empty(folder: Path) -> None:
    """Leave the files there, with nothing to read."""
    for file in folder.iterdir():
        os.truncate(file, 0)


# the small samples


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("quickstart.py", ["consumed: multiply(7.0, 3.0) = 21.0", "KeyError: 'divide'"]),
        ("typed_handlers.py", ["invoice: Invoice(total=45.0)", "ValueError", "done=3.0, total=3"]),
        ("priorities.py", ["fifo:\n    1", "stack:\n    0", "priority:\n  100"]),
        (
            "retries_and_dead_letters.py",
            [
                "done: flaky",
                "offline: failed after 3 attempts: no route to host",
                "forbidden: rejected after 1 attempts: no permission",
                "back online:\n  attempt 4: offline\n  done: offline\ndiscarded: 2",
            ],
        ),
    ],
)
def test_a_small_sample_explains_itself_and_leaves_nothing_behind(
    place: Place, sample: str, expected: list[str]
) -> None:
    done = place.run(sample)

    assert (done.returncode, done.stderr) == (0, "")
    assert [each for each in expected if each not in done.stdout] == []
    assert list(place.cwd.iterdir()) == []


BACKENDS = [
    "local",
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
]


def url_of(request: pytest.FixtureRequest, backend: str) -> str:
    """Return where a sample is to keep its jobs; a server is asked for only where it is needed."""
    url: str = (
        "sqlite:///./jobs" if backend == "local" else request.getfixturevalue(f"{backend}_url")
    )
    return url


def complaints(stderr: str) -> list[str]:
    """Return what was said on the standard error, but for how this machine's Redis is set up."""
    setup = "appendonly off: a restart loses jobs", "maxmemory-policy"
    return [line for line in stderr.splitlines() if not any(each in line for each in setup)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_quick_start_is_the_same_on_every_backend(
    request: pytest.FixtureRequest, place: Place, backend: str
) -> None:
    done = place.run("quickstart.py", "--backend-url", url_of(request, backend))

    assert (done.returncode, complaints(done.stderr)) == (0, [])
    lines = [re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", line) for line in done.stdout.splitlines()]
    assert lines == [
        "published ID",
        "published ID",
        "3 jobs wait in queue 'maths_quickstart'",
        "consumed: multiply(7.0, 3.0) = 21.0",
        "consumed: add(40.0, 2.0) = 42.0",
        "dead letter ID: KeyError: 'divide'",
    ]


@pytest.mark.redis
@pytest.mark.rabbitmq
def test_one_consumer_gets_the_engine_of_each_backend(
    place: Place, redis_url: str, rabbitmq_url: str
) -> None:
    urls = ["memory://", redis_url, rabbitmq_url]

    done = place.run(
        "example_new_consumer.py", *(word for url in urls for word in ("--backend-url", url))
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "✓ Local: success - Created LocalConsumerBackend\n"
        "✓ Redis: success - Created RedisConsumerBackend\n"
        "✓ RabbitMQ: success - Created RabbitMQConsumerBackend\n"
    )
    assert list(place.cwd.iterdir()) == []


def test_a_backend_that_is_away_is_told_by_its_address_without_the_password(place: Place) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"

        done = place.run(
            "example_new_consumer.py",
            *("--backend-url", "memory://"),
            *("--backend-url", f"redis://:sesame@{address}"),
            *("--backend-url", f"amqp://user:sesame@{address}"),
        )

    here, redis, rabbitmq = done.stdout.splitlines()
    assert here == "✓ Local: success - Created LocalConsumerBackend"
    assert redis.startswith("✗ Redis: failed - The redis backend at ")
    assert rabbitmq.startswith("✗ RabbitMQ: failed - The rabbitmq backend at ")
    assert address in redis
    assert address in rabbitmq
    assert "sesame" not in done.stdout + done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_producer_and_a_consumer_meet_wherever_a_url_says(
    request: pytest.FixtureRequest, place: Place, backend: str
) -> None:
    where = ("--backend-url", url_of(request, backend))
    produced = place.run("producer.py", "--jobs", "3", *where)
    assert "published 3 jobs; 3 wait now" in produced.stdout, produced.stderr

    with subprocess.Popen(
        [sys.executable, SAMPLES / "consumer.py", *where],
        cwd=place.cwd,
        env=place.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as consumer:
        assert consumer.stdout is not None
        heard = [consumer.stdout.readline() for _ in range(3)]
        place.run("producer.py", "--jobs", "1", *where)
        heard.append(consumer.stdout.readline())
        consumer.send_signal(signal.SIGINT)
        rest, _ = consumer.communicate()

    assert [line.split()[-1] for line in heard] == ["1", "2", "3", "1"]
    assert (rest, consumer.returncode) == ("4 jobs done\n", 0)


def test_producer_and_consumer_meet_in_a_folder_unless_told_otherwise(place: Place) -> None:
    produced = place.run("producer.py", "--jobs", "2")
    consumed = place.run("consumer.py", "--until-empty")

    assert "published 2 jobs; 2 wait now" in produced.stdout
    assert consumed.stdout.endswith("2 jobs done\n")
    assert [each.name for each in place.cwd.iterdir()] == ["demo-jobs"]


@pytest.mark.rabbitmq
def test_priorities_on_rabbitmq(place: Place, rabbitmq_url: str) -> None:
    done = place.run("priorities_rabbitmq.py", "--backend-url", rabbitmq_url)

    assert (done.returncode, done.stderr) == (0, "")
    refused, *order = done.stdout.splitlines()
    assert refused.startswith("refused: ")
    assert order == [
        "in this order:",
        "   10  fix the leak",
        "    5  answer mail",
        "    5  call back",
        "    1  tidy up",
        "    0  read",
    ]


# index_files.py: what it finds


def test_digests_and_counts_are_right_whatever_the_files_are_called_and_hold(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "odd"
    contents = {
        b"empty": b"",
        b"text.txt": b"one two\nthree\n",
        b"no newline at the end": b" a\tb ",
        b"binary.bin": bytes(range(256)) * 5000,
        b"a word across pieces": b"x" * (MEBIBYTE + 5) + b" y\n",
        b"a piece that ends with a space": b"x" * (MEBIBYTE - 1) + b" y\n",
        b"sub/folder/file": b"deep\n",
        b"latin-\xe9\xff": b"a name that is not UTF-8\n",
        "ünïcode-\N{SNOWMAN}".encode(): b"a name that is\n",
        b"[bold]:smile: %41 {x}": b"a name that others interpret\n",
        b"line\nbreak\x1b[31m": b"a name that terminals obey\n",
    }
    for name, content in contents.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    found = place.index(folder)

    files = {str(folder / os.fsdecode(name)): content for name, content in contents.items()}
    assert {row["path"]: row["sha256"] for row in found["files"]} == sha256sums([*files])
    assert {row["path"]: (row["size"], row["lines"], row["words"]) for row in found["files"]} == {
        path: (len(content), content.count(b"\n"), len(content.split()))
        for path, content in files.items()
    }
    assert len(found["files"]) == len(files)
    assert found["dead_letters"] == []


@pytest.mark.parametrize("package", ["json", "asyncio"])
def test_digests_of_a_real_package_are_those_of_sha256sum(place: Place, package: str) -> None:
    folder = Path(sysconfig.get_path("stdlib"), package)

    found = place.index(folder)

    rows = {row["path"]: row["sha256"] for row in found["files"]}
    sources = {str(path) for path in folder.rglob("*.py")}
    assert sources <= rows.keys()
    assert {path: rows[path] for path in sources} == sha256sums(sorted(sources))


def test_only_regular_files_are_read(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "file").write_text("here")
    (folder / "link").symlink_to("file")
    (folder / "broken link").symlink_to("nowhere")
    (folder / "circle").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket"))

    found = place.index(folder)

    assert [row["path"] for row in found["files"]] == [str(folder / "file")]
    assert found["dead_letters"] == []


def test_files_that_cannot_be_read_any_more_are_listed_as_dead_letters(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "changing"
    folder.mkdir()
    for name in ("stays", "vanishes", "becomes a folder", "becomes a pipe"):
        (folder / name).write_text(name)
    published = place.run("index_files.py", folder, "--consumers", "0")
    for name in ("vanishes", "becomes a folder", "becomes a pipe"):
        (folder / name).unlink()
    (folder / "becomes a folder").mkdir()
    os.mkfifo(folder / "becomes a pipe")

    found = place.index(folder)

    assert published.returncode == 0
    assert "4 files are left" in published.stdout
    assert [row["path"] for row in found["files"]] == [str(folder / "stays")]
    reasons = {Path(each["path"]).name: each["reason"] for each in found["dead_letters"]}
    assert reasons == {
        "vanishes": "No such file or directory",
        "becomes a folder": "Not a regular file any more",
        "becomes a pipe": "Not a regular file any more",
    }
    listed = found["output"].partition("Not read: 3 dead letters")[2]
    assert [each for each in (*reasons, *reasons.values()) if each not in listed] == []


def test_more_dead_letters_than_a_page_are_all_listed(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    for number in range(250):
        (folder / str(number)).touch()
    place.run("index_files.py", folder, "--consumers", "0")
    for file in folder.iterdir():
        file.unlink()

    found = place.index(folder)

    assert found["files"] == []
    assert len({each["path"] for each in found["dead_letters"]}) == 250


# index_files.py: how it speaks


def test_without_a_terminal_there_are_plain_lines_only(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "evil \x1b[2J\r\x07 \xff name.\x1b[31m").touch()
    (folder / "x").write_text("text\n")

    done = place.run("index_files.py", folder, FORCE_COLOR="1", TTY_COMPATIBLE="1")

    assert done.returncode == 0
    assert "2 of 2 files\n" in done.stdout
    odd = {each for each in done.stdout if not each.isprintable()}
    assert odd <= {"\n"}


def test_on_a_terminal_one_progress_bar_is_redrawn_in_place(place: Place, large: Path) -> None:
    with Terminal(place, large) as terminal:
        code = terminal.read_to_end()

        assert code == 0
        assert len(set(re.findall(r"([\d,]+) of 1,000 files", terminal.text))) > 2
        assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h") == 1
        bars = [line for line in terminal.screen() if "of 1,000 files" in line or "━" in line]
        assert len(bars) == 1
        assert re.fullmatch(r"━+ 1,000 of 1,000 files 0:00:00", bars[0])
        assert terminal.screen()[0] == f"1,000 files in {large}."
        assert "By suffix" in terminal.screen()[2]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "cannot be used: No such file or directory."),
        ("file", "cannot be used: Not a directory."),
        ("empty", "There are no files in"),
    ],
)
def test_a_folder_that_cannot_be_indexed_is_refused_in_one_sentence(
    place: Place, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()

    done = place.run("index_files.py", tmp_path / name)

    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not place.state.exists() or list(place.state.iterdir()) == []


def test_a_place_for_the_rows_that_cannot_be_written_is_refused_at_once(
    place: Place, tmp_path: Path
) -> None:
    done = place.run("index_files.py", tmp_path, "--json", tmp_path / "missing" / "rows.json")

    assert (done.returncode, done.stdout) == (2, "")
    assert "missing/rows.json cannot be used: No such file or directory." in done.stderr


def test_a_second_command_on_the_same_folder_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    place.run("index_files.py", tmp_path / "folder", "--consumers", "0")
    (lock,) = place.state.glob("*/lock")

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = place.run("index_files.py", tmp_path / "folder")

    assert done.returncode == 2
    assert done.stderr == f"Another command is indexing {tmp_path / 'folder'} now.\n"


# index_files.py: what is interrupted goes on


def test_after_ctrl_c_the_same_command_goes_on_with_what_is_left(place: Place, large: Path) -> None:
    with Terminal(place, large) as terminal:
        terminal.read_until(r"[1-9]\d* of 1,000 files")
        terminal.press_ctrl_c()
        code = terminal.read_to_end()
        screen = terminal.screen()
    empty(large)  # what is done again shows it

    found = place.index(large)

    assert code == 130
    assert screen[-1] == "Stopped. The same command goes on with what is left."
    assert len([line for line in screen if "━" in line]) == 1
    assert not any("Traceback" in line for line in screen)
    resumed = re.search(r"1,000 files in .*\. (\d+) are done already\.", found["output"])
    assert resumed is not None
    before = int(resumed[1])
    assert 0 < before < 1000
    assert f"\n{1000 - before} files in " in found["output"]
    assert len({row["path"] for row in found["files"]}) == len(found["files"]) == 1000
    assert len([row for row in found["files"] if row["size"] > 0]) == before
    assert found["dead_letters"] == []
    assert list(place.state.iterdir()) == []


@pytest.mark.stress
def test_a_run_interrupted_again_and_again_loses_nothing(place: Place, large: Path) -> None:
    for _ in range(2):
        with Terminal(place, large) as terminal:
            terminal.read_until(r"1,000 files in")
            terminal.press_ctrl_c()
            assert terminal.read_to_end() == 130
            assert "Traceback" not in terminal.text

    found = place.index(large)

    files = [row["path"] for row in found["files"]]
    assert {row["path"]: row["sha256"] for row in found["files"]} == sha256sums(files)
    assert sorted(files) == sorted(str(file) for file in large.iterdir())


def test_when_a_consumer_is_killed_the_others_do_its_jobs(
    place: Place, large: Path, tmp_path: Path
) -> None:
    with Terminal(place, large, "--json", tmp_path / "rows.json") as terminal:
        terminal.read_until(r"[1-9]\d* of 1,000 files")
        terminal.consumers()[0].kill()
        code = terminal.read_to_end()
        screen = terminal.screen()

    assert code == 0
    assert "ended early (SIGKILL); 3 others go on with its jobs." in screen[1]
    assert len([line for line in screen if "━" in line]) == 1
    rows = json.loads((tmp_path / "rows.json").read_text())["files"]
    assert len({row["path"] for row in rows}) == len(rows) == 1000


def test_when_all_consumers_are_killed_it_says_so_and_can_be_resumed(
    place: Place, large: Path
) -> None:
    with Terminal(place, large, "--consumers", "2") as terminal:
        terminal.read_until(r"[1-9]\d* of 1,000 files")
        for consumer in terminal.consumers():
            consumer.kill()
        code = terminal.read_to_end()
        last = terminal.screen()[-1]
    empty(large)

    assert code == 1
    assert re.fullmatch(r"No consumer is running; \d+ files are left\. .*", last)
    assert len(place.index(large)["files"]) == 1000


def test_when_the_command_itself_is_killed_its_consumers_end(place: Place, large: Path) -> None:
    with Terminal(place, large) as terminal:
        terminal.read_until(r"[1-9]\d* of 1,000 files")
        consumers = terminal.consumers()
        terminal.process.kill()

        _, alive = psutil.wait_procs(consumers, timeout=30)
    empty(large)

    assert len(consumers) == 4
    assert alive == []
    assert len(place.index(large)["files"]) == 1000


def test_a_run_that_is_kept_is_not_done_again(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "file").write_text("before")
    first = place.index(folder, "--keep")
    (folder / "file").write_text("after!")

    second = place.index(folder)
    third = place.index(folder)

    assert first["files"] == second["files"] != third["files"]
