"""The Redis store agrees with the model, whatever the order of events."""

import os

import pytest
from redis_harness import RedisHarness

from mindtrace.jobs.testing import machine_for
from mindtrace.jobs.testing.machine import STRESS

pytestmark = [pytest.mark.redis, pytest.mark.timeout(7200 if STRESS else 600)]
if STRESS:
    pytestmark.append(pytest.mark.stress)


def harness() -> RedisHarness:
    # a fixture does not reach a state machine: the same variable as in conftest.py
    return RedisHarness(os.environ.get("MINDTRACE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"))


TestFifo = machine_for(harness, "fifo")
TestStack = machine_for(harness, "stack")
TestPriority = machine_for(harness, "priority")
