"""RabbitMQ keeps every rule; what it says that it cannot do, it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rabbitmq_harness import LedgerHarness, RabbitMQHarness

from mindtrace.jobs.testing import BackendContract, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.rabbitmq


class TestWithALedger(BackendContract):
    @pytest.fixture
    def harness(self, rabbitmq_url: str, tmp_path: Path) -> Iterator[Harness]:
        with LedgerHarness(rabbitmq_url, tmp_path) as harness:
            yield harness


class TestContract(BackendContract):
    @pytest.fixture
    def harness(self, rabbitmq_url: str) -> Iterator[Harness]:
        with RabbitMQHarness(rabbitmq_url) as harness:
            yield harness
