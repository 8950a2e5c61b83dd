"""What the tests of scripts do in checkouts and in containers alike."""

from pathlib import Path
from typing import Any

import psutil
from cluster_support import eventually


def flood(place: Any, command: str) -> tuple[int, int]:
    """Return how many bytes a command wrote, and by how many its worker grew meanwhile."""
    place.run("echo warm")
    worker = psutil.Process(int(Path(place.worker.pid_file().pid_file).read_text()))
    before = highest = worker.memory_info().rss
    job_id = place.submit(command)

    def done() -> bool:
        nonlocal highest
        highest = max(highest, worker.memory_info().rss)
        return place.cluster.get_job_status(job_id=job_id).status == "completed"

    eventually(done, within=100)
    return place.done(job_id).output["stdout_size"], highest - before


def two_hundred(
    place: Any, touched: str, *, timeout: float, within: float
) -> tuple[list[str], list[str]]:
    """Run jobs of which half end badly; return how each ended, and how it should have.

    Args:
        place: Where.
        touched: A file that some of them make.
        timeout: The seconds that those which ignore SIGTERM have.
        within: The seconds that all have.
    """
    kinds: list[tuple[str, dict[str, Any], str]] = [
        ("echo fine", {}, "completed"),
        ("setsid sleep 300 & echo fine", {}, "completed"),
        ("exit 3", {}, "failed"),
        (f"echo fine; touch {touched}", {}, "completed"),
        ("trap '' TERM; (setsid sleep 300 &); sleep 300", {"timeout": timeout}, "failed"),
        ("kill -KILL $$", {}, "failed"),
    ]
    jobs = [
        (place.submit(command, **more), wanted)
        for command, more, wanted in (kinds[number % len(kinds)] for number in range(200))
    ]
    found = [place.cluster.wait_for_job(job_id=job, timeout=within).status for job, _ in jobs]
    return found, [wanted for _, wanted in jobs]
