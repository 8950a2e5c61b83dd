"""Commands, and the end of all that they start. Nothing here needs a cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import psutil
import pytest
from cluster_support import eventually

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script.output import Output
from mindtrace.cluster.run_script.process import Command, Ended, Keepers, User

pytestmark = pytest.mark.process

MIB = 1024**2


class Result(NamedTuple):
    ended: Ended
    out: str
    err: str


class Runner:
    """Runs commands, and finds what they left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keepers = Keepers()
        # folders of tests that run at a time may be called alike
        self.mark = f"left-by-{uuid4().hex}"

    def run(
        self,
        *argv: str,
        why_stop: Callable[[], str | None] = lambda: None,
        env: dict[str, str] | None = None,
        grace: float = 5.0,
        memory: int | None = None,
        processes: int | None = None,
        file_size: int | None = None,
        user: User | None = None,
    ) -> Result:
        variables = {"PATH": os.environ["PATH"], "MARK": self.mark} | (env or {})
        command = Command(
            list(argv), self.folder, variables, grace, memory, processes, file_size, user
        )
        place = self.folder / f"output-{monotonic()}"
        place.mkdir()
        with Output(place) as output:
            ended = self.keepers.run(command, output, why_stop)
        return Result(ended, output.out.excerpt.text(), output.err.excerpt.text())

    def shell(self, script: str, **options: Any) -> Result:
        return self.run("sh", "-c", script, **options)

    def python(self, script: str, **options: Any) -> Result:
        return self.run(sys.executable, "-c", script, **options)

    def left(self) -> list[int]:
        wanted = f"MARK={self.mark}".encode()
        found: list[int] = []
        for each in psutil.pids():
            try:
                environment = Path(f"/proc/{each}/environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0"):
                found.append(each)
        return found


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    found = Runner(tmp_path)
    yield found
    found.keepers.close()
    assert found.left() == []


def when(path: Path) -> Callable[[], str | None]:
    """Return what stops a command as soon as it has written a file."""
    return lambda: "timeout" if path.exists() else None


def test_both_streams_and_the_exit_code_are_told(runner: Runner) -> None:
    found = runner.shell("echo to you; echo not to you >&2; exit 7")
    assert found[1:] == ("to you\n", "not to you\n")
    assert (found.ended.code, found.ended.limit, found.ended.problem) == (7, None, None)


def test_a_signal_is_told_as_a_shell_does(runner: Runner) -> None:
    assert runner.shell("kill -SEGV $$").ended.code == 128 + signal.SIGSEGV


@pytest.mark.parametrize(("name", "code"), [("no-such-program", 127), ("./plain", 126)])
def test_what_cannot_be_started_is_told(runner: Runner, name: str, code: int) -> None:
    (runner.folder / "plain").write_text("no program")
    found = runner.run(name)
    assert found.ended.code == code
    assert found.ended.problem is not None
    assert name in found.ended.problem


def test_a_command_has_the_variables_that_it_was_given_and_no_more(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDTRACE_OURS", "1")
    found = runner.python("import os; print(*sorted(os.environ))", env={"MINE": "1"})
    names = set(found.out.split()) - {"LC_CTYPE"}  # Python's own
    assert names == {"MARK", "MINDTRACE_RUN", "MINE", "PATH"}


def test_arguments_are_no_shell(runner: Runner) -> None:
    assert runner.run("echo", "$(id)", ";", "exit", "1").out == "$(id) ; exit 1\n"


def test_a_command_has_no_descriptors_of_others(runner: Runner) -> None:
    # the last is that of the folder that is listed
    assert runner.python("import os; print(os.listdir('/proc/self/fd'))").out == (
        "['0', '1', '2', '3']\n"
    )


def test_what_is_left_in_the_background_is_ended(runner: Runner) -> None:
    found = runner.shell("setsid sleep 300 & (sleep 300 &) ; nohup sleep 300 & echo done")
    assert found.out == "done\n"
    assert runner.left() == []


def test_what_ignores_the_end_is_killed_after_the_grace(runner: Runner) -> None:
    ready = runner.folder / "ready"
    deaf, stubborn = "trap '' TERM HUP INT; ", "while :; do sleep 1; done"
    child = deaf + stubborn
    script = f'{deaf}(setsid sh -c "{child}" &); (setsid sh -c "{child}; :" & ); touch {ready}; '
    found = runner.shell(script + stubborn, why_stop=when(ready), grace=0.3)
    assert (found.ended.limit, found.ended.code) == ("timeout", 128 + signal.SIGKILL)
    assert runner.left() == []


def test_what_heeds_the_end_has_its_grace(runner: Runner) -> None:
    ready = runner.folder / "ready"
    script = f"trap 'echo tidy; exit 3' TERM; touch {ready}; while :; do sleep 0.05; done"
    found = runner.shell(script, why_stop=when(ready), grace=60)
    assert (found.ended.limit, found.ended.code, found.out) == ("timeout", 3, "tidy\n")
    assert found.ended.duration < 50


def test_children_have_their_grace_as_well(runner: Runner) -> None:
    ready, tidy = runner.folder / "ready", runner.folder / "tidy"
    child = (
        f"trap 'sleep 0.5; touch {tidy}; exit' TERM; touch {ready}; while :; do sleep 0.05; done"
    )
    runner.shell(f'sh -c "{child}" & wait', why_stop=when(ready), grace=60)
    assert tidy.exists()


def test_a_command_that_kills_its_keeper_ends_with_it(runner: Runner) -> None:
    with pytest.raises(RunScriptError, match="keeper of the command was killed"):
        runner.shell("setsid sleep 300 & (setsid sleep 300 &); kill -KILL $PPID; sleep 300")
    assert runner.left() == []
    assert runner.shell("echo next").out == "next\n"


@pytest.mark.parametrize("whom", ["$PPID", "$FORKER", "$FORKER $PPID"])
def test_a_command_that_stops_what_watches_it_stays_bounded(runner: Runner, whom: str) -> None:
    script = f"FORKER=$(cut -d ' ' -f 4 /proc/$PPID/stat); kill -STOP {whom}; "
    began = monotonic()
    with contextlib.suppress(RunScriptError):  # a keeper that keeps nothing is ended
        runner.shell(
            f"{script} setsid sleep 300 & {script} sleep 300",
            why_stop=lambda: "timeout" if monotonic() > began + 1 else None,
            grace=0.1,
        )
    assert runner.left() == []
    assert runner.shell("echo next").out == "next\n"


def test_a_keeper_of_keepers_that_was_killed_is_replaced(runner: Runner) -> None:
    runner.shell("true")
    children = psutil.Process().children()
    (forker,) = (each for each in children if "run_script/keeper.py" in " ".join(each.cmdline()))
    forker.kill()
    assert runner.shell("echo next").out == "next\n"


def test_memory_of_all_processes_together_is_limited(runner: Runner) -> None:
    script = "import time; held = b'x' * (60 * 2**20); time.sleep(300)"
    found = runner.shell(
        f'for i in 1 2 3; do "{sys.executable}" -c "{script}" & done; wait', memory=150 * MIB
    )
    assert (found.ended.limit, found.ended.code) == ("memory", 128 + signal.SIGKILL)


def test_memory_that_is_shared_is_counted_once(runner: Runner) -> None:
    script = (
        "import os, time\nheld = b'x' * (60 * 2**20)\n"
        "for _ in range(4):\n  if os.fork() == 0: time.sleep(0.5); os._exit(0)\n"
        "for _ in range(4): os.wait()\nprint('fine')"
    )
    assert runner.python(script, memory=200 * MIB).out == "fine\n"


@pytest.mark.parametrize(
    "bomb",
    [
        "import os\nwhile True: os.fork()",
        "import os\nwhile True:\n  if os.fork() == 0: os.setsid()",
    ],
)
def test_a_fork_bomb_is_ended(runner: Runner, bomb: str) -> None:
    found = runner.python(bomb, processes=50)
    assert (found.ended.limit, found.ended.code) == ("processes", 128 + signal.SIGKILL)
    assert runner.left() == []


def test_a_file_grows_no_further_than_allowed(runner: Runner) -> None:
    found = runner.shell("head -c 10000000 /dev/zero > full; exit $?", file_size=MIB)
    assert found.ended.code == 128 + signal.SIGXFSZ
    assert (runner.folder / "full").stat().st_size == MIB


def test_rights_of_others_cannot_be_had(runner: Runner) -> None:
    assert "NoNewPrivs:\t1" in runner.shell("cat /proc/self/status").out


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_a_command_can_run_as_another_user(runner: Runner) -> None:
    for each in (runner.folder, *runner.folder.parents[:-2]):
        each.chmod(0o711)
    found = runner.shell("id -u; id -G; kill -9 $PPID || echo no", user=User(65534, 65534))
    assert found.out == "65534\n65534\nno\n"


def test_many_run_at_a_time(runner: Runner) -> None:
    results: list[str] = []

    def one(number: int) -> None:
        results.append(runner.shell(f"sleep 0.1; echo {number}").out)

    threads = [threading.Thread(target=one, args=[number]) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(results) == [f"{number}\n" for number in range(8)]


def test_nothing_outlives_a_killed_worker(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    runner = Runner(tmp_path)
    script = f"""
import os
from pathlib import Path
from mindtrace.cluster.run_script.output import Output
from mindtrace.cluster.run_script.process import Command, Keepers

shell = "trap '' TERM; (setsid sleep 300 &); touch {ready}; sleep 300"
env = {{"PATH": os.environ["PATH"], "MARK": "{runner.mark}"}}
with Output(Path("{tmp_path}")) as output:
    Keepers().run(Command(["sh", "-c", shell], Path("{tmp_path}"), env), output, lambda: None)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as worker:
        eventually(ready.exists)
        assert runner.left()
        worker.kill()
    eventually(lambda: not runner.left(), what="the end of what the worker ran")


def test_a_flood_of_output_takes_no_memory(runner: Runner) -> None:
    process = psutil.Process()
    runner.shell("echo warm")
    before = process.memory_info().rss
    size = 200 * MIB
    found = runner.shell(f"head -c {size} /dev/zero | tr '\\0' x")
    assert len(found.out) < 20_000
    (file,) = (each for each in runner.folder.glob("*/stdout") if each.stat().st_size == size)
    file.unlink()
    assert process.memory_info().rss - before < 20 * MIB
