"""Fixtures of the Redis tests: where a server is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of a server whose names others use too: each test has a namespace of its own."""
    return os.environ.get("MINDTRACE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
