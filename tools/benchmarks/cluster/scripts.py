"""What is measured of a `RunScriptWorker`, beside the bare commands of git and docker."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any
from uuid import uuid4

import psutil

from mindtrace.cluster.workers.run_script_worker import RunScriptWorker
from tools.benchmarks.cluster.stage import PATIENCE, ClusterStage
from tools.benchmarks.report import Figure, Row, durations, limit
from tools.benchmarks.settings import SkippedError
from tools.benchmarks.turns import take_turns
from tools.commands import ROOT
from tools.services.catalogue import DOCKER
from tools.services.ladder import UnavailableError

IMAGE = ROOT / "packages" / "cluster" / "tests" / "docker_support.py"
FILES = 100
"""Files of the repository."""

MIB = 2**20
GIT = shutil.which("git") or "git"


def git_jobs(stage: ClusterStage) -> Iterator[Row]:
    """Run `true` in a checkout, beside the same made and removed by git's own commands."""
    with stage.where.opened() as folder, ExitStack() as stack:
        repository = _Repository(folder)
        worker = _launch(stack)
        for how, which in (("branch", "main"), ("commit", repository.commit)):

            def ours(how: str = how, which: str = which) -> None:
                _run(worker, "true", git={"repo_url": repository.url, how: which})

            measure = f"Git job `true` of a {how}, against git worktree add, run and remove"
            yield _row(measure, ours, repository.bare, stage, bar=1.5)


def docker_jobs(stage: ClusterStage) -> Iterator[Row]:
    """Run `echo` in a container, beside `docker run --rm`."""
    host = _engine(stage)
    with stage.where.opened(), ExitStack() as stack:
        made = subprocess.run(
            [sys.executable, IMAGE, host], check=True, capture_output=True, text=True
        )
        image = made.stdout.strip()
        environment = {**os.environ, "DOCKER_HOST": host}
        worker = _launch(stack, DOCKER_HOST=host)
        command = ["docker", "run", "--rm", "--network=none", image, "echo", "hello"]

        def ours() -> None:
            _run(worker, ["echo", "hello"], docker={"image": image})

        def bare() -> None:
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

        measure = "Docker job `echo`, against docker run --rm"
        yield _row(measure, ours, bare, stage, bar=1.3)


def flood(stage: ClusterStage) -> Iterator[Row]:
    """Let a command write very much, and watch the memory of its worker."""
    with stage.where.opened() as folder, ExitStack() as stack:
        repository = _Repository(folder)
        worker = _launch(stack)
        where = {"repo_url": repository.url, "branch": "main"}
        _run(worker, "echo warm", git=where)
        process = psutil.Process(worker.process_id)
        before = highest = process.memory_info().rss
        ended = Event()

        def watch() -> None:
            nonlocal highest
            while not ended.wait(0.01):
                highest = max(highest, process.memory_info().rss)

        watcher = Thread(target=watch)
        watcher.start()
        try:
            output = _run(worker, f"head -c {stage.settings.flood} /dev/zero", git=where)
        finally:
            ended.set()
            watcher.join()
        if output["stdout_size"] != stage.settings.flood:
            message = f"of the output of a job, {output['stdout_size']} bytes arrived"
            raise RuntimeError(message)
        yield Row(
            measure=f"{stage.settings.flood:,} bytes of output: growth of the worker's RSS",
            ours=Figure((highest - before) / MIB, "MiB"),
            who="to",
            against=Figure(highest / MIB, "MiB"),
            bar=limit("<", 20, "MiB"),
        )


class _Repository:
    """A repository on disk, and a bare clone of it that is warm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.clone = folder / "bare"
        self.folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        for number in range(FILES):
            (self.folder / f"file-{number}").write_text(f"{number}\n" * 100, encoding="ascii")
        self._git("add", "--all")
        self._git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "x")
        self.commit = self._git("rev-parse", "HEAD")
        self._git("clone", "--quiet", "--bare", str(self.folder), str(self.clone))

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def bare(self) -> None:
        """Do by hand what a job of a commit needs at least."""
        checkout = self.folder.with_name(f"checkout-{uuid4()}")
        where = [GIT, "-C", str(self.clone), "worktree"]
        subprocess.run([*where, "add", "--quiet", "--detach", checkout, self.commit], check=True)
        subprocess.run(["/bin/sh", "-c", "true"], cwd=checkout, check=True)
        subprocess.run([*where, "remove", "--force", checkout], check=True)

    def _git(self, *words: str) -> str:
        done = subprocess.run(
            [GIT, *words], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()


def _launch(stack: ExitStack, **environment: str) -> Any:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        # Any: the methods of a client are made from the endpoints of its service
        worker: Any = RunScriptWorker.launch(host="127.0.0.1", port=0, progress_bar=False)
    finally:
        os.environ.clear()
        os.environ.update(before)
    stack.callback(worker.end)
    return worker


def _run(worker: Any, command: str | list[str], **environment: Any) -> dict[str, Any]:
    job = {"environment": environment, "command": command}
    found = worker.run(job_dict=job, timeout=PATIENCE)
    if found["status"] != "completed":
        message = f"a job of this benchmark was not completed: {found}"
        raise RuntimeError(message)
    output: dict[str, Any] = found["output"]
    return output


def _engine(stage: ClusterStage) -> str:
    if shutil.which("docker") is None:
        why = "there is no docker command on this machine to compare with"
        raise SkippedError(why)
    try:
        host, _ = stage.where.found(DOCKER)
    except UnavailableError as error:
        raise SkippedError(str(error)) from None
    return host


def _row(
    measure: str,
    ours: Callable[[], None],
    bare: Callable[[], None],
    stage: ClusterStage,
    bar: float,
) -> Row:
    mine, theirs = take_turns((ours, bare), _seconds, stage.settings.rounds)
    return durations(measure, mine, theirs, "bare", "ms", bar)


def _seconds(work: Callable[[], None]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


MEASURES: dict[str, Callable[[ClusterStage], Iterator[Row]]] = {
    "git": git_jobs,
    "docker": docker_jobs,
    "flood": flood,
}
