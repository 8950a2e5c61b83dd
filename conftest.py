"""Settings that all tests share: how hard Hypothesis searches, who shares a process, and ports."""

import os
from collections.abc import Iterator

import pytest

try:
    from hypothesis import settings
except ImportError:  # a package's unit tests also run where nothing else is installed
    pass
else:
    # A shared machine is sometimes slow: the time limit is pytest's, per test. The usual run tries
    # the same examples each time, so that it fails for what changed; stress draws new ones.
    settings.register_profile("default", settings(), deadline=None, derandomize=True)
    settings.register_profile("stress", settings(), deadline=None, max_examples=2000)
    settings.load_profile("stress" if os.environ.get("MINDTRACE_STRESS") else "default")


TOGETHER = {"test_mutations.py"}
"""Modules whose tests share what is costly to find out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that start a server of their own run in one process, and share that server.

    They come first: a process that began with them at the end would leave the others idle.
    """
    for item in items:
        own = [name for name in getattr(item, "fixturenames", ()) if name.startswith("own_")]
        own += TOGETHER & {item.path.name}
        if own:
            item.add_marker(pytest.mark.xdist_group(own[0]))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session", autouse=True)
def _ports_of_ones_own() -> Iterator[None]:
    """Let the nodes of tests that run at the same time not take each other's ports."""
    first = 20_000 + os.getpid() % 500 * 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDTRACE_CLUSTER__WORKER_PORTS_RANGE", f"{first}-{first + 19}")
        yield
