"""`process_dlq`: goes through the jobs that failed, and asks what to do with each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.prompt import Prompt

from mindtrace.jobs import JobNotFoundError
from mindtrace.services import ServiceError

if TYPE_CHECKING:
    from mindtrace.cluster.core.types import DLQJobStatus, JobStatus

CHOICES = ("r", "d", "s", "q")
# what jobs say is text: no markup in it, and no lines that are broken in two
PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
SHOWN = 4000
"""Characters of a payload or an output that are shown."""
QUESTION = "Requeue (r), discard (d), skip (s) or quit (q)?"


# Any: the methods of a manager's client are made from its endpoints
def process_dlq(cluster_manager: Any) -> list[JobStatus]:
    """Show each job that failed, oldest first, and do with it what the person says.

    It reads from the standard input. At its end, or with Ctrl-D, it stops as with `q`; what was
    decided before holds. A job that somebody else requeued or discarded meanwhile is passed over.

    Returns:
        The status of each job that was requeued.
    """
    console = Console()
    requeued: list[JobStatus] = []
    jobs = cluster_manager.get_dlq_jobs().jobs
    if not jobs:
        console.print("No job has failed.")
    for number, job in enumerate(jobs, 1):
        _show(console, job, f"{number} of {len(jobs)}")
        key = _asked(console)
        if key == "q":
            break
        try:
            if key == "r":
                requeued.append(cluster_manager.requeue_from_dlq(job_id=job.job_id))
            elif key == "d":
                cluster_manager.discard_from_dlq(job_id=job.job_id)
        except ServiceError as error:
            if error.remote_type != JobNotFoundError.__name__:
                raise
            console.print("Somebody else has requeued or discarded it.")
    return requeued


def _asked(console: Console) -> str:
    try:
        return Prompt.ask(QUESTION, console=console, choices=list(CHOICES), show_choices=False)
    except EOFError:
        return "q"


def _show(console: Console, job: DLQJobStatus, place: str) -> None:
    name = job.job.schema_name if job.job is not None else "(no job)"
    console.print(f"\nJob {job.job_id} ({place}), {name}: {job.status}", **PLAIN)
    if job.job is not None:
        console.print(f"  payload: {_shown(job.job.payload)}", **PLAIN)
    if job.body is not None:
        console.print(f"  body:    {_shown(job.body)}", **PLAIN)
    console.print(f"  output:  {_shown(job.output)}", **PLAIN)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    left_out = len(text) - SHOWN
    return text if left_out <= 0 else f"{text[:SHOWN]} ... and {left_out} characters more"
