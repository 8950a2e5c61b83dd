"""Commands in Git checkouts, through a cluster and by the endpoint of their worker."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_support import eventually
from git_support import Origin, wheel
from run_script_support import flood, two_hundred

from mindtrace.cluster import ClusterManager, outcome
from mindtrace.cluster.workers.run_script_worker import (
    RunScriptWorker,
    RunScriptWorkerInput,
    RunScriptWorkerOutput,
)
from mindtrace.jobs import JobSchema, job_from_schema

pytestmark = pytest.mark.process

SCRIPT = "import sys; print('hello from', *sys.argv[1:]); print('to you', file=sys.stderr)"
SECRET = "do-not-tell-1"


class Place:
    """A cluster with a worker, and a repository."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "root" / "git"
        self.origin = Origin(folder / "origin")
        self.outside = folder / "outside"
        self.outside.mkdir()
        tiny = wheel(folder, "tiny", "1.0", tiny="value = 'installed'")
        (self.origin.folder / "way-out").symlink_to(self.outside)
        self.commit = self.origin.commit(
            {
                "scripts/hello.py": SCRIPT,
                "needs/requirements.txt": f"tiny @ file://{tiny}\n",
                "needs/show.py": "import tiny, sys; print(tiny.value, sys.prefix)",
            }
        )
        self.cluster: Any = ClusterManager.launch(host="localhost", port=0, progress_bar=False)
        stack.callback(self.cluster.end)
        self.worker: Any = RunScriptWorker.launch(host="localhost", port=0, progress_bar=False)
        stack.callback(self.worker.end)
        self.schema = JobSchema(
            name="run_script_demo",
            input_schema=RunScriptWorkerInput,
            output_schema=RunScriptWorkerOutput,
        )
        self.cluster.register_job_to_worker(
            job_type="run_script_demo", worker_url=str(self.worker.url)
        )

    def submit(self, command: object, *, git: dict[str, Any] | None = None, **more: Any) -> str:
        where = {"repo_url": self.origin.url, "branch": "main", "working_dir": ""} | (git or {})
        job = job_from_schema(
            self.schema, {"environment": {"git": where}, "command": command, **more}
        )
        self.cluster.submit_job(job)
        return job.id

    def status(self, job_id: str) -> Any:
        return self.cluster.get_job_status(job_id=job_id)

    def done(self, job_id: str) -> Any:
        return self.cluster.wait_for_job(job_id=job_id, timeout=60)

    def run(self, command: object, **more: Any) -> Any:
        return self.done(self.submit(command, **more))

    def left(self) -> list[str]:
        """Return what jobs left: checkouts, and processes that work in them."""
        found = [str(each) for each in (self.cache / "checkouts").glob("*")]
        for each in psutil.process_iter():
            try:
                if each.cwd().startswith(str(self.cache)):
                    found.append(" ".join(each.cmdline()))
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("run-script")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(folder / "root"))
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__SECRETS__ACCESS", SECRET)
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__GRACE", "0.5")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__PROCESSES", "200")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__FILE_SIZE", "64MiB")
        monkeypatch.setenv("MINDTRACE_RUN_SCRIPT__RECORDS", "10")
        monkeypatch.setenv("NOT_FOR_JOBS", "1")
        yield Place(stack, folder)


@pytest.fixture(autouse=True)
def _nothing_is_left(place: Place) -> Iterator[None]:
    yield
    assert place.left() == []


def test_the_call_of_the_document_runs_as_it_is_written(place: Place) -> None:
    job = job_from_schema(
        place.schema,
        {
            "environment": {
                "git": {"repo_url": place.origin.url, "branch": "main", "working_dir": ""}
            },
            "command": "python scripts/hello.py you",
        },
    )
    place.cluster.submit_job(job)
    found = place.done(job.id)
    assert found.status == "completed"
    output = RunScriptWorkerOutput.model_validate(found.output)
    assert (output.stdout, output.stderr) == ("hello from you\n", "to you\n")
    assert (output.output, output.error) == (output.stdout, output.stderr)
    assert (output.exit_code, output.commit, output.limits_hit) == (0, place.commit, [])
    assert 0 < output.duration < 60
    assert output.stdout_file is not None
    assert Path(output.stdout_file).read_text() == output.stdout


def test_an_outcome_that_is_about_as_long_as_may_be_keeps_its_beginning(place: Place) -> None:
    """With what is around it in the dead letter it is longer."""
    empty = place.run("exit 1")
    # each of these letters is six characters of JSON; both streams are told under two names
    count = (outcome.MOST - 40 - len(json.dumps(empty.output))) // 24
    write = f"yes \u00e4 | tr -d '\\n' | head -c {2 * count}"
    found = place.run(f"{write}; {write} >&2; exit 1")
    for each in ("stdout", "stderr"):
        assert found.output[f"{each}_size"] == 2 * count
        assert found.output[each].startswith("\u00e4\u00e4")
    for each in (empty, found):
        place.cluster.discard_from_dlq(job_id=each.job_id)


def test_a_command_that_fails_is_a_dead_letter_that_says_all(place: Place) -> None:
    found = place.run("echo some; echo 'wrong \u00e4' >&2; exit 5")
    assert found.status == "failed"
    assert found.output["stdout"] == "some\n"
    assert found.output["stderr"] == "wrong ä\n"
    assert found.output["exit_code"] == 5
    (letter,) = place.cluster.get_dlq_jobs().jobs
    assert letter.output["stderr"] == "wrong ä\n"
    place.cluster.discard_from_dlq(job_id=letter.job_id)


def test_long_output_of_a_failed_command_is_told_in_part(place: Place) -> None:
    found = place.run("yes ä | head -c 300000; exit 1")
    assert found.output["exit_code"] == 1
    assert found.output["stdout_size"] == 300_000
    assert "bytes left out" in found.output["stdout"]
    assert Path(found.output["stdout_file"]).stat().st_size == 300_000


def test_a_list_is_executed_as_it_is(place: Place) -> None:
    command = ["python", "scripts/hello.py", "$HOME", "; exit 1"]
    assert place.run(command).output["stdout"] == "hello from $HOME ; exit 1\n"


def test_a_text_may_have_several_lines(place: Place) -> None:
    assert place.run("\n    echo one\n    echo two\n").output["stdout"] == "one\ntwo\n"


@pytest.mark.parametrize("command", ["", " \n", [], ["", "x"]])
def test_nothing_is_no_command(place: Place, command: object) -> None:
    job = {"environment": {"git": {"repo_url": place.origin.url}}, "command": command}
    found = place.worker.run(job_dict=job)
    assert "the command is empty" in found["output"]["error"]


def test_a_tag_a_commit_and_a_folder_can_be_named(place: Place) -> None:
    place.origin.git("tag", "--force", "v1")
    assert place.run("true", git={"branch": "v1"}).output["commit"] == place.commit
    git = {"branch": "", "commit": place.commit[:10], "working_dir": "scripts"}
    assert place.run("ls", git=git).output["stdout"] == "hello.py\n"


def test_python_is_that_of_the_worker(place: Place) -> None:
    assert place.run("python -c 'import sys; print(sys.prefix)'").output["stdout"].strip() == (
        sys.prefix
    )


def test_python_is_that_of_the_project_where_it_needs_something(place: Place) -> None:
    first, second = (place.run("python show.py", git={"working_dir": "needs"}) for _ in range(2))
    what, prefix = first.output["stdout"].split()
    assert what == "installed"
    assert Path(prefix).is_relative_to(place.cache)
    assert second.output["stdout"] == first.output["stdout"]


def test_a_command_sees_few_variables_of_the_worker(place: Place) -> None:
    found = place.run("env", env={"MINE": "yes"}).output["stdout"]
    names = {line.partition("=")[0] for line in found.splitlines()}
    assert {"MINE", "PATH", "HOME", "TMPDIR"} <= names
    assert "NOT_FOR_JOBS" not in names
    assert {each for each in names if each.startswith("MINDTRACE")} == {"MINDTRACE_RUN"}


def test_a_secret_is_given_and_not_told(place: Place) -> None:
    command = 'test "$TOKEN" = ' + f'{SECRET} && echo "is $TOKEN" && exit 1'
    found = place.run(
        command.replace(SECRET, '"do-not-""tell-1"'), env={"TOKEN": {"secret": "access"}}
    )
    assert found.output["stdout"] == "is ***\n"
    assert SECRET not in found.model_dump_json()
    assert Path(found.output["stdout_file"]).read_text() == "is ***\n"


@pytest.mark.parametrize(
    "environment", [{}, {"git": {"repo_url": "file:///x"}, "docker": {"image": "x"}}]
)
def test_a_job_has_exactly_one_environment(place: Place, environment: dict[str, Any]) -> None:
    found = place.worker.run(job_dict={"environment": environment, "command": "true"})
    assert found["status"] == "failed"
    assert "exactly one environment" in found["output"]["error"]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"env": {"TOKEN": {"secret": "nobodys"}}}, "no secret 'nobodys'"),
        ({"timeout": 1e9}, "timeout of 1e\\+09 is more than"),
        ({"limits": {"processes": 201}}, "limits.processes of 201 is more than the 200"),
        ({"limits": {"cpus": 1}}, "limits.cpus is kept in containers alone"),
        ({"limits": {"gpu_memory": 1}}, "gpu_memory"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"git": {"branch": "nobodys"}}, "no branch or tag 'nobodys'"),
    ],
)
def test_what_cannot_be_had_is_refused(place: Place, more: dict[str, Any], what: str) -> None:
    git = {"repo_url": place.origin.url, **more.pop("git", {})}
    job = {"environment": {"git": git}, "command": "true", **more}
    found = place.worker.run(job_dict=job)
    assert found["status"] == "failed"
    assert re.search(what, found["output"]["error"])


def test_the_endpoint_runs_a_job_at_once(place: Place) -> None:
    git = {"repo_url": place.origin.url}
    found = place.worker.run(job_dict={"environment": {"git": git}, "command": "echo at once"})
    assert found["status"] == "completed"
    assert found["output"]["stdout"] == "at once\n"


def test_a_command_that_takes_too_long_is_ended(place: Place) -> None:
    found = place.run("trap '' TERM; setsid sleep 300 & sleep 300; sleep 300", timeout=3)
    assert found.status == "failed"
    assert found.output["limits_hit"] == ["timeout"]
    assert found.output["exit_code"] == 137


def test_output_can_be_read_while_the_command_runs_and_a_cancelled_one_ends(place: Place) -> None:
    job_id = place.submit("echo one; echo two; setsid sleep 300 & sleep 300")
    eventually(lambda: (place.status(job_id).progress or (0, None))[0] == 2, what="two lines")
    part = place.worker.output(job_id=job_id, after=4)
    assert (part.text, part.after, part.running) == ("two\n", 8, True)
    assert place.cluster.cancel_job(job_id=job_id).cancelled
    assert place.done(job_id).status == "cancelled"
    eventually(lambda: not place.worker.output(job_id=job_id).running)
    assert place.worker.output(job_id=job_id).text == "one\ntwo\n"


def test_several_run_at_a_time(place: Place) -> None:
    meeting = place.folder / "meeting"
    meeting.mkdir()
    wait = f"touch {meeting}/$N; while [ $(ls {meeting} | wc -l) -lt 4 ]; do sleep 0.02; done"
    jobs = [place.submit(wait, env={"N": str(number)}, timeout=50) for number in range(4)]
    assert [place.done(job).status for job in jobs] == ["completed"] * 4


# what somebody may try


@pytest.mark.parametrize(
    "git",
    [
        {"working_dir": "../.."},
        {"working_dir": "/etc"},
        {"working_dir": "scripts/../../.."},
        {"working_dir": "way-out"},
        {"project": "way-out"},
        {"branch": "--upload-pack=touch $OUT"},
        {"branch": "main:refs/heads/main"},
        {"branch": "../../main"},
        {"commit": "--detach"},
        {"repo_url": "ext::sh -c touch% $OUT"},
        {"repo_url": "--upload-pack=touch $OUT"},
        {"repo_url": "ssh://-oProxyCommand=touch $OUT/x"},
        {"repo_url": "file://$OUT/../../etc"},
        {"repo_url": "$OUT"},
    ],
)
def test_nothing_leads_out(place: Place, git: dict[str, str]) -> None:
    asked = {name: text.replace("$OUT", f"{place.outside}/reached") for name, text in git.items()}
    where = {"repo_url": place.origin.url, **asked}
    command = f"touch {place.outside}/reached"
    found = place.worker.run(job_dict={"environment": {"git": where}, "command": command})
    assert found["status"] == "failed"
    assert found["output"]["error"]
    assert list(place.outside.iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        "git config remote.origin.url ext::nowhere",
        "git config filter.m.smudge 'cat; id'; echo '* filter=m' > $CLONE/info/attributes",
        "git replace HEAD:scripts/hello.py $(echo more | git hash-object -w --stdin)",
        "git config core.worktree /nowhere",
        "rm $CLONE/config",
        f"rm $CLONE/config; ln -s {sys.executable} $CLONE/config",
        "echo nonsense > $CLONE/config",
    ],
)
def test_what_a_job_does_to_the_clone_concerns_no_other(place: Place, spoil: str) -> None:
    clone = "CLONE=$(git rev-parse --git-common-dir); mkdir -p $CLONE/info;"
    assert place.run(f"{clone} {spoil}").status == "completed"
    found = place.run("cat scripts/hello.py")
    assert found.output["stdout"] == SCRIPT


def test_a_checkout_is_removed_and_not_what_links_lead_to(place: Place) -> None:
    (place.outside / "precious").write_text("kept")
    script = f"ln -s {place.outside} more; mkdir locked; touch locked/x; chmod 500 locked . "
    assert place.run(script).status == "completed"
    assert (place.outside / "precious").read_text() == "kept"
    (place.outside / "precious").unlink()


@pytest.mark.parametrize(
    ("command", "more", "hit"),
    [
        ("f() { f | f & }; f; sleep 100", {}, ["processes"]),
        (
            "python -c \"x = b'x' * 2**29; input()\" ; sleep 100",
            {"limits": {"memory": "64MiB"}},
            ["memory"],
        ),
        ("head -c 200000000 /dev/zero > $TMPDIR/full", {}, []),
        (
            "trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 300\" &) ; sleep 300",
            {"timeout": 0.3},
            ["timeout"],
        ),
        ("kill -KILL $PPID; setsid sleep 300", {}, None),
    ],
    ids=["fork bomb", "memory hog", "disk filler", "stubborn", "keeper killer"],
)
def test_what_a_command_does_wrong_ends_with_it(
    place: Place, command: str, more: dict[str, Any], hit: list[str] | None
) -> None:
    found = place.run(command, **more)
    assert found.status == "failed"
    if hit is not None:
        assert found.output["limits_hit"] == hit
    assert place.left() == []
    # the next one finds nothing amiss
    assert place.run("echo next").output["stdout"] == "next\n"


@pytest.mark.stress
def test_a_flood_of_output_takes_no_memory_of_the_worker(place: Place) -> None:
    size, growth = flood(place, "head -c 1000000000 /dev/zero | tr '\\0' x")
    assert size == 1_000_000_000
    assert growth < 20 * 2**20


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_of_two_hundred_jobs_nothing_is_left(place: Place) -> None:
    found, wanted = two_hundred(place, "x", timeout=0.2, within=200)
    assert found == wanted
    assert place.left() == []
    assert len(list((place.folder / "root/run_script/records").iterdir())) <= 16
