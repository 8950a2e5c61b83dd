"""The test kit for authors of backends: a contract, a model machine, and the harness both need.

Needs pytest and hypothesis (`mindtrace-jobs[testing]`). Production code never imports it.
"""

import pytest

for _module in (
    "administering",
    "claiming",
    "holding",
    "machine",
    "moving",
    "ordering",
    "processes",
    "publishing",
    "running",
    "settling",
):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from mindtrace.jobs.testing.contract import BackendContract, InProcessContract  # noqa: E402
from mindtrace.jobs.testing.harness import Harness, LocalHarness, MemoryHarness  # noqa: E402
from mindtrace.jobs.testing.machine import QueueMachine, machine_for  # noqa: E402
from mindtrace.jobs.testing.waiting import eventually  # noqa: E402

__all__ = [
    "BackendContract",
    "Harness",
    "InProcessContract",
    "LocalHarness",
    "MemoryHarness",
    "QueueMachine",
    "eventually",
    "machine_for",
]
