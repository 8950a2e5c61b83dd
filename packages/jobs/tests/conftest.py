"""Fixtures of the jobs tests: an empty store in memory or on files, and a clock moved by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mindtrace.core import ManualClock
from mindtrace.jobs import LocalClient, Orchestrator

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def client() -> Iterator[LocalClient]:
    with LocalClient.in_memory() as client:
        yield client


@pytest.fixture
def orchestrator(client: LocalClient) -> Orchestrator:
    return Orchestrator(client)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def durable(folder: Path) -> Iterator[Orchestrator]:
    with LocalClient(folder) as client:
        yield Orchestrator(client)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)


@pytest.fixture
def timed(clock: ManualClock) -> Iterator[Orchestrator]:
    """An orchestrator whose jobs are dated by `clock`."""
    with LocalClient.in_memory(clock=clock) as client:
        yield Orchestrator(client)
