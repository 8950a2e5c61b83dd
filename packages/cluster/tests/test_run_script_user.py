"""Git jobs as another user. That takes root, and no cluster."""

import os
import pwd
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from git_support import Origin, wheel

from mindtrace.cluster.errors import DependenciesError, RunScriptError
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.run_script.output import Output
from mindtrace.cluster.run_script.process import Keepers
from mindtrace.cluster.run_script.records import Records
from mindtrace.cluster.run_script.settings import RunScriptSettings
from mindtrace.cluster.run_script.task import Control, Task
from mindtrace.cluster.run_script.types import GitSpec, RunScriptWorkerInput
from mindtrace.cluster.workers.environments.git_env import GitEnvironment
from mindtrace.jobs import Consumer

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody reaches, as those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="mindtrace-run-as-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python that everybody may run, taken for that of the worker."""
    for each in (sys.executable, "/usr/bin/python3"):
        tried = ["/bin/sh", "-c", '"$0" -c ""', each]
        done = subprocess.run(tried, user="nobody", check=False, capture_output=True)
        if done.returncode == 0:
            monkeypatch.setattr(sys, "executable", each)
            return each
    pytest.skip("no Python of this machine may be run by everybody")


def run(folder: Path, command: str, user: str, files: dict[str, str] | None = None) -> str:
    """Run a command as a user, and return what it wrote."""
    origin = Origin(folder / "origin")
    origin.commit({"given": "x"} | (files or {}))
    environment = {"git": {"repo_url": origin.url}}
    job = RunScriptWorkerInput.model_validate({"environment": environment, "command": command})
    keepers = Keepers()
    spec = GitSpec(repo_url=origin.url)
    (folder / "cache").mkdir(mode=0o700)
    where = GitEnvironment(spec, folder / "cache", Access(), keepers, run_as=user)
    records = Records(folder / "records", keep=1, size=1 << 20)
    try:
        with records.new(None) as record, Output(record.folder) as output:
            control = Control(lambda: False, Consumer.progress(), 1 << 20)
            task = Task.of(job, RunScriptSettings())
            ended = where.run(task, output, control, record.temporary).ended
    finally:
        keepers.close()
        assert list((folder / "cache" / "checkouts").iterdir()) == []
    assert ended.problem is None
    return output.out.excerpt.text() + output.err.excerpt.text()


def test_a_command_has_the_rights_of_its_user_alone(folder: Path) -> None:
    (folder / "ours").write_text("secret")
    (folder / "ours").chmod(0o600)
    script = f"id -un; touch made $TMPDIR/made && cat given; cat {folder}/ours; kill -9 $PPID"
    said = run(folder, script, "nobody")
    assert said.startswith("nobody\nx")
    assert said.count("denied") + said.count("not permitted") >= 2


def test_a_user_that_is_none_is_told(folder: Path) -> None:
    with pytest.raises(RunScriptError, match="RUN_AS names no user of this machine: nobodys"):
        run(folder, "true", "nobodys")


BACKEND = """
import os, subprocess
with open({proof!r}, "w") as proof:
    print(os.getuid(), *os.environ, file=proof)
quiet = subprocess.DEVNULL
left = ["setsid", "sleep", "300"]
left = subprocess.Popen(left, env={{}}, stdin=quiet, stdout=quiet, stderr=quiet)
with open({pid!r}, "w") as pid:
    print(left.pid, file=pid)
raise SystemExit(3)
"""


@pytest.mark.usefixtures("python")
def test_code_that_is_run_to_build_a_project_has_no_more_rights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_WORKER", "1")
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    declared = """
        [project]
        name = "mine"
        version = "1"
        [build-system]
        requires = []
        build-backend = "mine"
        backend-path = ["."]
    """
    backend = BACKEND.format(proof=f"{shared}/proof", pid=f"{shared}/pid")
    files = {"pyproject.toml": textwrap.dedent(declared), "mine.py": backend}
    with pytest.raises(DependenciesError, match="backend returned an error"):
        run(folder, "true", "nobody", files)
    uid, *names = (shared / "proof").read_text().split()
    assert uid == str(pwd.getpwnam("nobody").pw_uid)
    assert "OF_THE_WORKER" not in names
    assert not psutil.pid_exists(int((shared / "pid").read_text()))


@pytest.mark.usefixtures("python")
def test_a_project_does_not_show_what_its_user_may_not_read(folder: Path) -> None:
    (folder / "ours").write_text("hush hush")
    (folder / "ours").chmod(0o600)
    files = {"requirements.txt": f"-r {folder}/ours\n"}
    with pytest.raises(DependenciesError, match="Permission denied") as found:
        run(folder, "true", "nobody", files)
    assert "hush" not in str(found.value)


@pytest.mark.usefixtures("python")
def test_an_environment_that_others_will_share_cannot_be_changed(folder: Path) -> None:
    tiny = wheel(folder, "tiny", "1.0", tiny="value = 'installed'")
    tiny.chmod(0o644)
    script = """
        python -c 'import tiny; print(tiny.value)'
        touch $VIRTUAL_ENV/x $VIRTUAL_ENV/lib/x
        find $VIRTUAL_ENV -writable ! -type l
    """
    said = run(folder, script, "nobody", {"requirements.txt": f"tiny @ file://{tiny}\n"})
    assert said.startswith("installed\n")
    assert said.count("denied") == 2
    assert len(said.splitlines()) == 3
