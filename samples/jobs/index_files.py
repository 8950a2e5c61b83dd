"""Index a folder with several consumer processes: one typed job for each regular file.

    python samples/jobs/index_files.py [DIR] --consumers 4

A job computes SHA-256, size, line and word counts of its file. Files that cannot be read become
dead letters, which are listed at the end. Press Ctrl-C and run the same command again: the queue is
a file on disk, so it goes on with what is left. Without DIR it indexes Python's standard library.
"""

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from indexing.command import Command, RefusedError, claimed, read_command
from indexing.files import Facts, decoded, encoded, measure, regular_files
from indexing.processes import Processes, consumer_processes
from indexing.report import Bar, Failure, Row, make_console, print_report, shown
from pydantic import BaseModel

from mindtrace.jobs import (
    Consumer,
    Job,
    JobNotFoundError,
    JobSchema,
    LocalClient,
    Orchestrator,
    Reject,
    handler,
)

BATCH = 500
CONSOLE = make_console()
RESUME = "The same command goes on with what is left."


class File(BaseModel):
    """The input of a job: one path, encoded."""

    path: str


INDEX_FILE = JobSchema(
    name="index_file",
    input_schema=File,
    output_schema=Facts,
    keep_result=True,  # the kept results are the record of what is done
    result_ttl=30 * 24 * 3600,
)


@handler(INDEX_FILE)
def index_file(file: File) -> Facts:
    """Measure one file. After a crash a job runs again, and still has one result."""
    try:
        return measure(decoded(file.path))
    except OSError as error:
        raise Reject(error.strerror or str(error)) from error


def connect(state: Path) -> Orchestrator:
    """Open the queue of a run, in whichever process."""
    orchestrator = Orchestrator(LocalClient(state / "queue"))
    orchestrator.register(INDEX_FILE)
    return orchestrator


def make_consumer(state: Path) -> Consumer:
    """Return a consumer of the queue; each consumer process calls this."""
    index_file.connect(connect(state))
    return index_file


class Run:
    """The files of a folder and their jobs, on disk until all are done.

    The list of files is written before anything is published, and the id of a job is the place of
    its file in it. So an interrupted run reads the same list again, and no file is done twice.
    """

    def __init__(self, command: Command) -> None:
        self.state = command.state
        files = command.state / "files"
        self.resumed = files.exists()
        if not self.resumed:
            write_list(command, files)
        paths = files.read_text().split()
        self.jobs = {f"{place:08}": path for place, path in enumerate(paths)}
        self.orchestrator = connect(command.state)
        self.new = [job_id for job_id in self.jobs if not (self.resumed and self.is_known(job_id))]

    def is_known(self, job_id: str) -> bool:
        """Tell whether a job was published by the interrupted run."""
        try:
            return bool(self.orchestrator.handle(job_id).status)
        except JobNotFoundError:
            return False

    def publish(self) -> Iterator[int]:
        """Publish the new jobs, a batch in one transaction; say after each how many are done."""
        while self.new:
            batch, self.new = self.new[:BATCH], self.new[BATCH:]
            jobs = [
                Job(name=INDEX_FILE.name, id=job_id, payload=File(path=self.jobs[job_id]))
                for job_id in batch
            ]
            self.orchestrator.publish_many(INDEX_FILE.name, jobs)
            yield self.done()

    def done(self) -> int:
        """Count the jobs that have finished."""
        stats = self.orchestrator.queue_stats(INDEX_FILE.name)
        return len(self.jobs) - len(self.new) - stats.ready - stats.delayed - stats.leased

    def failures(self) -> dict[str, Failure]:
        """Return the dead letters by job id, read page by page."""
        found: dict[str, Failure] = {}
        last = None
        while page := self.orchestrator.dead_letters(INDEX_FILE.name, after=last):
            last = page[-1].job_id
            for each in page:
                found[each.job_id] = Failure(decoded(self.jobs[each.job_id]), each.message)
        return found

    def row(self, job_id: str) -> Row:
        """Return the kept result of a job."""
        facts: Facts = self.orchestrator.handle(job_id).result(timeout=0)
        return Row(decoded(self.jobs[job_id]), **facts.model_dump())

    def close(self, *, keep: bool) -> None:
        """Close the queue, and remove the run unless it is to be kept."""
        self.orchestrator.close()
        if not keep:
            shutil.rmtree(self.state)


def write_list(command: Command, files: Path) -> None:
    """Find the files and write their list: all of it, or nothing."""

    def left_out(error: OSError) -> None:
        CONSOLE.print(f"Left out: {shown(str(error.filename))}: {error.strerror}")

    found = regular_files(command.folder, without=command.without, unreadable=left_out)
    part = files.with_suffix(".part")
    part.write_text("\n".join(sorted(map(encoded, found))))
    part.rename(files)


def index(command: Command) -> int:
    """Index the folder; return the exit code."""
    run, folder = Run(command), shown(str(command.folder))
    total, before = len(run.jobs), run.done()
    if not total:
        run.close(keep=False)
        raise RefusedError(f"There are no files in {folder}.")
    resuming = f" {before:,} are done already." if run.resumed else ""
    CONSOLE.print(f"{total:,} files in {folder}.{resuming}")
    began = monotonic()
    count = command.consumers if before < total else 0
    with (
        consumer_processes(count, make_consumer, command.state) as processes,
        Bar(CONSOLE, total) as bar,
    ):
        done = follow(run, processes, bar)
    seconds = monotonic() - began
    if done < total:
        CONSOLE.print(f"No consumer is running; {total - done:,} files are left. {RESUME}")
        return 1 if command.consumers else 0
    report(run, command)
    rate = (done - before) / seconds
    CONSOLE.print(f"{done - before:,} files in {seconds:.1f} s, {rate:,.0f} a second.")
    run.close(keep=command.keep)
    return 0


def follow(run: Run, processes: Processes, bar: Bar) -> int:
    """Publish, then wait until all is done or no consumer is left; return how many are done."""
    for done in run.publish():
        bar.show(done)
    while (done := run.done()) < len(run.jobs) and processes:
        bar.show(done)
        for ending in processes.ended(within=0.1):
            CONSOLE.print(f"{ending}; {len(processes)} others go on with its jobs.")
    bar.show(done)
    return done


def report(run: Run, command: Command) -> None:
    """Print the tables, and write the rows where they were asked for."""
    failures = run.failures()
    rows = [run.row(job_id) for job_id in run.jobs if job_id not in failures]
    print_report(CONSOLE, command.folder, rows, list(failures.values()))
    if command.json is not None:
        files = [row._asdict() for row in rows]
        dead = [failure._asdict() for failure in failures.values()]
        command.json.write_text(json.dumps({"files": files, "dead_letters": dead}, indent=1))


def main() -> int:
    """Run the command; return its exit code."""
    command = read_command(__doc__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
    try:
        with claimed(command):
            return index(command)
    except KeyboardInterrupt:
        CONSOLE.print(f"Stopped. {RESUME}")
        return 130
    except RefusedError as error:
        make_console(stderr=True).print(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
