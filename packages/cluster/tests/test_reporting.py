"""How a node or a worker tells its manager that it lives."""

import pytest
from cluster_support import eventually

from mindtrace.cluster.errors import ClusterError
from mindtrace.cluster.reporting import Reporter


class Manager:
    """May be away."""

    def __init__(self) -> None:
        self.away = True
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.away:
            raise ClusterError("nobody is there")

    def is_called(self) -> None:
        """Wait for two more calls, of which the first may have begun before."""
        calls = self.calls
        eventually(lambda: self.calls > calls + 1)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


def test_a_manager_that_stays_away_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    manager = Manager()
    reporter = Reporter(manager, every=0.05, pause=0.0)
    reporter.start()
    said = ["The manager cannot be told how it goes: nobody is there"]

    eventually(lambda: messages(caplog) == said)
    manager.is_called()
    assert messages(caplog) == said
    manager.away = False

    eventually(lambda: messages(caplog) == [*said, "The manager is back."])
    reporter.stop()


def test_a_manager_that_is_away_for_a_moment_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """A cluster that ends as a whole ends in any order."""
    caplog.set_level("INFO")
    manager = Manager()
    reporter = Reporter(manager, every=60.0, pause=0.0)
    reporter.start()

    reporter.changed()
    eventually(lambda: manager.calls > 1)
    manager.away = False
    reporter.stop()

    assert messages(caplog) == []
