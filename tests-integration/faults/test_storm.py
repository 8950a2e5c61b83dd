"""Consumers are killed again and again: nothing is lost, and no stale settle is accepted."""

import sys
from dataclasses import replace

import pytest
from crew import Crew
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


def blow(crew: Crew, forecast: Forecast) -> None:
    storm = Storm(crew, forecast)
    storm.blow()
    summary = storm.summary()
    sys.stdout.write(f"{summary}\n")  # seen with -rP
    storm.check()


@pytest.mark.parametrize(
    "forecast", [FIFO, MIXED], ids=["batches of one queue", "several queues with retries"]
)
def test_a_storm_of_kills_loses_nothing(crew: Crew, forecast: Forecast) -> None:
    blow(crew, forecast)


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "forecast",
    [
        replace(FIFO, waves=100, jobs=150, planned=180, random=300, idle=90, patience=300, seed=2),
        replace(MIXED, waves=100, jobs=50, planned=180, random=300, idle=90, patience=300, seed=3),
    ],
    ids=["batches of one queue", "several queues with retries"],
)
def test_a_long_storm_of_kills_loses_nothing(crew: Crew, forecast: Forecast) -> None:
    blow(crew, forecast)
