"""Fixtures of the fault tests. All of them start real processes, and end each one they started."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The helper modules of this folder are imported by name, here and in the processes it starts.
sys.path.insert(0, str(HERE))

from crew import Crew, Nursery  # noqa: E402 - needs the path above
from mounts import SmallDisk  # noqa: E402 - likewise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    patient = bool(os.environ.get("MINDTRACE_STRESS"))
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.process)
        item.add_marker(pytest.mark.integration)
        if item.get_closest_marker("stress") and not patient:
            item.add_marker(pytest.mark.skip(reason="not run: takes minutes, asks for --stress"))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process that the workers of all tests are forked from."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def crew(nursery: Nursery, tmp_path: Path) -> Iterator[Crew]:
    """Starts workers on a folder of their own; whoever still lives is killed when the test ends."""
    with Crew(nursery, tmp_path / "jobs", tmp_path / "journal") as crew:
        yield crew


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of a few megabytes, which can be filled and freed."""
    with SmallDisk(tmp_path / "disk") as disk:
        yield disk
