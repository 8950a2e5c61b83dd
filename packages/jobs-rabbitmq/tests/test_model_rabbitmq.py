"""The broker against the model, in every order that hypothesis thinks of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from rabbitmq_harness import LedgerHarness, RabbitMQHarness, rabbitmq_address

from mindtrace.jobs.testing import Harness, machine_for
from mindtrace.jobs.testing.machine import STRESS

pytestmark = pytest.mark.timeout(7200 if STRESS else 600)

EXAMPLES, STEPS = (300, 40) if STRESS else (4, 20)
BEAT = 0.1
"""The machine itself sees to it that nothing is due in the moment that it looks."""


def open_harness() -> Harness:
    harness = RabbitMQHarness(rabbitmq_address())
    harness.beat = BEAT
    return harness


def open_with_ledger() -> Harness:
    folder = Path(tempfile.mkdtemp(prefix="mindtrace-ledger-"))
    harness = LedgerHarness(rabbitmq_address(), folder)
    harness.beat = BEAT
    return harness


TestFifo = pytest.mark.rabbitmq(machine_for(open_harness, "fifo", examples=EXAMPLES, steps=STEPS))
TestPriority = pytest.mark.stress(
    pytest.mark.rabbitmq(machine_for(open_harness, "priority", examples=EXAMPLES, steps=STEPS))
)
TestFifoWithALedger = pytest.mark.rabbitmq(
    machine_for(open_with_ledger, "fifo", examples=EXAMPLES, steps=STEPS)
)
