"""The Redis store keeps every rule, on a real server."""

from collections.abc import Iterator

import pytest
from redis_harness import RedisHarness

from mindtrace.jobs.testing import BackendContract, Harness


@pytest.mark.redis
class TestOnRedis(BackendContract):
    @pytest.fixture
    def harness(self, redis_url: str) -> Iterator[Harness]:
        with RedisHarness(redis_url) as harness:
            yield harness
