"""Git jobs as another user. That takes root, and no cluster."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_support import Origin

from mindtrace.cluster.errors import RunScriptError
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


def run(folder: Path, command: str, user: str) -> str:
    """Run a command as a user, and return what it wrote."""
    origin = Origin(folder / "origin")
    origin.commit({"given": "x"})
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
    assert ended.problem is None
    assert list((folder / "cache" / "checkouts").iterdir()) == []
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
