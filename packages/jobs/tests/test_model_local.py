"""The local store agrees with the model, whatever the order of events."""

import tempfile
from pathlib import Path

import pytest

from mindtrace.jobs.testing import LocalHarness, MemoryHarness, machine_for
from mindtrace.jobs.testing.machine import STRESS

pytestmark = [pytest.mark.stress, pytest.mark.timeout(7200)] if STRESS else []


class FileHarness(LocalHarness):
    """Files in a folder that goes with the harness."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mindtrace-model-")
        super().__init__(Path(self._folder.name))

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


TestFifoInMemory = machine_for(MemoryHarness, "fifo")
TestStackInMemory = machine_for(MemoryHarness, "stack")
TestPriorityInMemory = machine_for(MemoryHarness, "priority")
TestFifoOnFiles = machine_for(FileHarness, "fifo")
TestStackOnFiles = machine_for(FileHarness, "stack")
TestPriorityOnFiles = machine_for(FileHarness, "priority")
