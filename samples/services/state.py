"""A service with state: a few named counters that are read, set, raised and removed.

    python samples/services/state.py

What it keeps is in its one process, and gone with it. `def` handlers run in threads, many at the
same time, so what they share needs a lock.
"""

import threading
from typing import Annotated, Any

from fastapi import HTTPException
from pydantic import BaseModel, Field

from mindtrace.services import Service, ServiceError, endpoint

LARGEST = 1_000_000
MOST = 1_000

Name = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9_-]+$")]


class Which(BaseModel):
    """Which counter."""

    name: Name


class Value(BaseModel):
    """A counter and its value."""

    name: Name
    value: int = Field(ge=-LARGEST, le=LARGEST)


class Step(BaseModel):
    """By how much a counter is raised."""

    name: Name
    by: int = Field(default=1, ge=-LARGEST, le=LARGEST)


class Selection(BaseModel):
    """Which counters: those that are named, or all; from a value on."""

    names: list[Name] = Field(default_factory=list[str], max_length=100)
    at_least: int | None = Field(default=None, ge=-LARGEST, le=LARGEST)


class Counters(BaseModel):
    """Counters by name."""

    counters: dict[str, int]


class CounterService(Service):
    """Keeps named counters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(summary="Keeps named counters.", **kwargs)
        self._counters: dict[str, int] = {}
        self._mutex = threading.Lock()

    @endpoint("/counter/read", methods=["GET"])
    def read(self, which: Which) -> Value:
        """Return the value of a counter; 404 if there is none."""
        with self._mutex:
            if which.name not in self._counters:
                raise HTTPException(404, f"there is no counter {which.name!r}")
            return Value(name=which.name, value=self._counters[which.name])

    @endpoint("/counter/set", methods=["PUT"], repeatable=True)
    def set(self, value: Value) -> Value:
        """Set a counter, which is made if there is none; 409 if there are too many."""
        with self._mutex:
            self._keep(value.name, value.value)
        return value

    @endpoint("/counter/raise")
    def raise_(self, step: Step) -> Value:
        """Raise a counter, which begins at 0; 409 if it would get too large."""
        with self._mutex:
            value = self._counters.get(step.name, 0) + step.by
            if abs(value) > LARGEST:
                raise HTTPException(409, f"{step.name!r} would be {value}; the most is {LARGEST}")
            self._keep(step.name, value)
        return Value(name=step.name, value=value)

    @endpoint("/counter/remove", methods=["DELETE"])
    def remove(self, which: Which) -> None:
        """Remove a counter; 404 if there is none."""
        with self._mutex:
            if self._counters.pop(which.name, None) is None:
                raise HTTPException(404, f"there is no counter {which.name!r}")

    @endpoint("/counters", methods=["GET"])
    def list(self, selection: Selection) -> Counters:
        """Return several counters."""
        with self._mutex:
            found = dict(self._counters)
        return Counters(
            counters={
                name: value
                for name, value in sorted(found.items())
                if (not selection.names or name in selection.names)
                and (selection.at_least is None or value >= selection.at_least)
            }
        )

    def _keep(self, name: str, value: int) -> None:
        if name not in self._counters and len(self._counters) >= MOST:
            raise HTTPException(409, f"there are {MOST} counters already")
        self._counters[name] = value


def main() -> None:
    """Count a little."""
    with CounterService.launch(port=0) as service:
        service.counter_set(name="apples", value=5)
        for _ in range(3):
            print(service.counter_raise(name="pears"))
        print(service.counter_raise(name="apples", by=-2))
        print(service.counters(at_least=3))
        service.counter_remove(name="pears")
        try:
            service.counter_read(name="pears")
        except ServiceError as error:
            print(f"{error.status}: {error.remote_message}")
        print(service.counters())


if __name__ == "__main__":
    main()
