"""Consumers are killed again and again: nothing is lost, and no stale settle is accepted."""

import sys
from dataclasses import replace

import pytest
from crew import Crew
from places import SERVERS
from storm import Forecast, Storm

FIFO = Forecast(queues={"work": "fifo"}, waves=4, jobs=110)
MIXED = Forecast(
    queues={"work": "fifo", "urgent": "priority", "pile": "stack"},
    modes=("plain", "threads", "async"),
    failing=0.2,
    waves=4,
    jobs=36,
    planned=3,
    random=6,
)
LONG = {"waves": 100, "planned": 180, "random": 300, "idle": 90}
BACKENDS = ["local", *SERVERS]


def on(crew: Crew, forecast: Forecast) -> Forecast:
    """Leave out the queue types that a backend does not have."""
    types = crew.orchestrator.backend.capabilities.queue_types
    queues = {name: kind for name, kind in forecast.queues.items() if kind in types}
    return replace(forecast, queues=queues)


def blow(crew: Crew, forecast: Forecast) -> None:
    storm = Storm(crew, on(crew, forecast))
    storm.blow()
    summary = storm.summary()
    sys.stdout.write(f"{summary}\n")  # seen with -rP
    storm.check()


@pytest.mark.parametrize("crew", BACKENDS, indirect=True)
@pytest.mark.parametrize(
    "forecast", [FIFO, MIXED], ids=["batches of one queue", "several queues with retries"]
)
def test_a_storm_of_kills_loses_nothing(crew: Crew, forecast: Forecast) -> None:
    blow(crew, forecast)


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("crew", BACKENDS, indirect=True)
@pytest.mark.parametrize(
    "forecast",
    [replace(FIFO, jobs=150, seed=2, **LONG), replace(MIXED, jobs=50, seed=3, **LONG)],
    ids=["batches of one queue", "several queues with retries"],
)
def test_a_long_storm_of_kills_loses_nothing(crew: Crew, forecast: Forecast) -> None:
    blow(crew, forecast)
