"""Analyse the logs in a folder: which levels, which lines most often, which files most loudly.

    python samples/cluster/analyse_logs.py [DIR] [--workers 3] [--json FILE]

Files that gzip packed are read as well. Without DIR it reads Python's standard library, which has
no logs, but lines that look like some. A node launches the workers, each batch of files is a job,
and the bars show what the jobs say of their progress. Kill a worker meanwhile: the node launches
it anew, and its batch is begun again.
"""

import argparse
import json
import os
import signal
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from log_analysis.files import Batch, batches, decoded, regular_files
from log_analysis.report import Bars, make_console, print_report, shown, size_of
from log_analysis.worker import ANALYSE, Findings

from mindtrace.cluster import ClusterManager, Node
from mindtrace.jobs import job_from_schema

BATCHES_EACH = 6
SMALLEST_BATCH = 1 << 18
TOGETHER = 20
PAGE = 1000
LOOK_EVERY = 0.2
CONSOLE = make_console()


class RefusedError(Exception):
    """What was asked for cannot be done; the text says why."""


class Command(NamedTuple):
    """What was asked for."""

    folder: Path
    workers: int
    json: Path | None


class Crew:
    """A cluster of this command's own: a manager, a node, and workers on it."""

    def __init__(self, stack: ExitStack, workers: int) -> None:
        self.cluster = stack.enter_context(ClusterManager.launch(port=0))
        self._node = stack.enter_context(Node.launch(port=0, cluster_url=str(self.cluster.url)))
        self.cluster.register_worker_type(
            worker_name="log_worker",
            worker_class="log_analysis.worker.LogWorker",
            job_type=ANALYSE.name,
        )
        self._launches = [self._launch() for _ in range(workers)]

    def _launch(self) -> str:
        launch = self.cluster.launch_worker(node_url=str(self._node.url), worker_type="log_worker")
        return str(launch.launch_id)

    def check(self) -> None:
        """Return if there is hope for a worker.

        Raises:
            RefusedError: None could be launched.
        """
        found = [
            self.cluster.launch_worker_status(node_url=str(self._node.url), launch_id=each)
            for each in self._launches
        ]
        if all(each.status == "failed" for each in found):
            raise RefusedError(f"No worker could be launched: {found[0].error}")

    def submit(self, dealt: Sequence[Batch]) -> dict[str, Batch]:
        """Submit a job for each batch, and return the batches by the ids of their jobs."""
        jobs = {job.id: job for job in (job_from_schema(ANALYSE, each._asdict()) for each in dealt)}
        waiting = list(jobs.values())
        for start in range(0, len(waiting), TOGETHER):  # lists of files may be long
            self.cluster.submit_jobs(jobs=waiting[start : start + TOGETHER])
        return dict(zip(jobs, dealt, strict=True))

    def unfinished(self, status: str) -> dict[str, Any]:
        """Return the jobs of a status by their ids."""
        found: dict[str, Any] = {}
        last: str | None = None
        while True:
            page = self.cluster.list_jobs(status=status, limit=PAGE, after=last).jobs
            found |= {each.job_id: each for each in page}
            if len(page) < PAGE:
                return found
            last = page[-1].job_id

    def follow(self, jobs: dict[str, Batch], bars: Bars) -> None:
        """Show how far the jobs are, until all have finished."""
        numbers = {job_id: number for number, job_id in enumerate(jobs, 1)}
        total = sum(each.size for each in jobs.values())
        while True:
            # in this order: what begins in between is seen twice, not missed
            queued = self.unfinished("queued")
            running = self.unfinished("running")
            far = {each.job_id: (each.progress or (0.0, None))[0] for each in running.values()}
            left = queued.keys() | running.keys()
            bars.show(
                total - sum(jobs[each].size - far.get(each, 0.0) for each in left),
                {f"job {numbers[each]}": (done, jobs[each].size) for each, done in far.items()},
            )
            if not left:
                return
            if not running:
                self.check()
            self.cluster.wait_for_job(job_id=min(left), timeout=LOOK_EVERY)


def read_command() -> Command:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    library = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", default=library)
    parser.add_argument("--workers", type=int, default=3, choices=range(1, 17), metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there, too")
    given = parser.parse_args()
    return Command(given.folder.resolve(), given.workers, given.json)


def check(command: Command) -> None:
    """Return if the folder can be read, and the file written.

    Raises:
        RefusedError: They cannot.
    """
    try:
        os.scandir(command.folder).close()
        if command.json is not None:
            command.json.touch()
    except OSError as error:
        path = shown(str(error.filename))
        raise RefusedError(f"{path} cannot be used: {error.strerror}.") from error


def analyse(command: Command) -> int:
    """Analyse the folder; return the exit code."""
    folder = shown(str(command.folder))

    def left_out(error: OSError) -> None:
        CONSOLE.print(f"Left out: {shown(str(error.filename))}: {error.strerror}")

    files = sorted(regular_files(str(command.folder), left_out))
    if not files:
        raise RefusedError(f"There are no files in {folder}.")
    total = sum(each.size for each in files)
    size = max(SMALLEST_BATCH, total // (command.workers * BATCHES_EACH))
    dealt = list(batches(files, size))
    CONSOLE.print(f"{len(files):,} files in {folder}, {size_of(total)}, in {len(dealt)} jobs.")
    with ExitStack() as stack:
        crew = Crew(stack, command.workers)
        jobs = crew.submit(dealt)
        with Bars(CONSOLE, total) as bars:
            crew.follow(jobs, bars)
        statuses = [crew.cluster.get_job_status(job_id=each) for each in jobs]
        crew.cluster.clear_databases()
    found = Findings()
    for each in statuses:
        if each.status == "completed":
            found.add(Findings.model_validate(each.output))
    failed = [each for each in statuses if each.status != "completed"]
    print_report(CONSOLE, command.folder, found, failed)
    if command.json is not None:
        write(found, command.json)
    return 1 if failed else 0


def write(found: Findings, file: Path) -> None:
    """Write all findings as JSON."""
    values = found.model_dump(mode="json")
    for name in ("loudest", "unreadable"):
        values[name] = {decoded(path): value for path, value in values[name].items()}
    file.write_text(json.dumps(values, indent=1))


def main() -> int:
    """Run the command; return its exit code."""
    command = read_command()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
    try:
        check(command)
        return analyse(command)
    except KeyboardInterrupt:
        CONSOLE.print("Stopped.")
        return 130
    except RefusedError as error:
        make_console(stderr=True).print(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
