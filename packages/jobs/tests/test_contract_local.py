"""The local store, on files and in memory, keeps every rule."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mindtrace.jobs.testing import (
    BackendContract,
    Harness,
    InProcessContract,
    LocalHarness,
    MemoryHarness,
)


class TestOnFiles(BackendContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Harness]:
        with LocalHarness(tmp_path) as harness:
            yield harness


class TestInMemory(InProcessContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        with MemoryHarness() as harness:
            yield harness
