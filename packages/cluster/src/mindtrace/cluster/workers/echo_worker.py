"""`EchoWorker`: says what it is told, after a while if asked to."""

from __future__ import annotations

import threading
from typing import Any

from mindtrace.cluster.worker import Worker


class EchoWorker(Worker):
    """Returns the `message` of a job, after `delay` seconds."""

    def _run(self, job_dict: Any) -> dict[str, Any]:
        delay = float(job_dict.get("delay", 0))
        if delay > 0:
            threading.Event().wait(delay)
        return {"status": "completed", "output": {"echoed": job_dict["message"]}}
