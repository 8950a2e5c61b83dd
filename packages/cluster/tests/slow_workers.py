"""Workers that do not get ready, each in its own way."""

import os
from threading import Event
from typing import Any

from mindtrace.cluster import Worker

FOR_EVER = Event()


class Hangs(Worker):
    """Cannot be made in any time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        FOR_EVER.wait()


class HangsAtStart(Worker):
    """Cannot be connected in any time."""

    def start(self) -> None:
        FOR_EVER.wait()


class StartsInAMinute(Worker):
    """Has much to load."""

    def start(self) -> None:
        FOR_EVER.wait(61)

    def _run(self, job_dict: dict[str, Any]) -> Any:
        return job_dict


class Raises(Worker):
    """Cannot be made."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        raise LookupError("no camera")


class Exits(Worker):
    """Ends the process that makes it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        os._exit(7)


class NoWorker:
    """Is something else."""
