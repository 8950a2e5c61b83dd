"""The local store agrees with the model, whatever the order of events."""

import tempfile
from pathlib import Path

import pytest

from mindtrace.jobs.testing import LocalHarness, MemoryHarness, machine_for
from mindtrace.jobs.testing.machine import STRESS, machine_class

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


@pytest.mark.parametrize("open_harness", [MemoryHarness, FileHarness])
def test_a_record_of_what_died_while_it_was_cancelled_begins_when_that_is_noticed(
    open_harness: type[LocalHarness],
) -> None:
    machine = machine_class(open_harness, "fifo")()

    machine.publish(number=2, priority=0, delay=0.0, ttl=None, keep=30.5)
    machine.receive(holder=0, limit=1)
    machine.cancel(place=0)
    machine.lose(place=0, politely=False)
    for seconds in (15, 15, 1):
        machine.advance(seconds=seconds)
        machine.agrees()

    machine.teardown()
