"""What the storm's jobs are run by."""

from pathlib import Path
from threading import Event
from typing import Any

from mindtrace.cluster import Worker


class StormWorker(Worker):
    """Takes its time, and writes down that it begins and that it has done it."""

    def _run(self, job_dict: dict[str, Any]) -> Any:
        with Path(job_dict["journal"]).open("a", encoding="ascii", buffering=1) as file:
            file.write(f"begun {job_dict['number']}\n")
            Event().wait(job_dict["seconds"])
            file.write(f"done {job_dict['number']}\n")
        return {"number": job_dict["number"]}
