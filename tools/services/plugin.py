"""The pytest plugin that gives the tests their servers: `-p tools.services.plugin`.

What the collected tests ask for by marker is found before the first of them runs. With pytest-xdist
the controller, which collects nothing, finds all servers; its workers inherit the addresses. A test
whose server cannot be had is reported as not run, in the last lines, and fails the run under CI.
"""

import os
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from tools.services.catalogue import SERVICES, Service
from tools.services.ladder import Found, Ladder, MissedError, UnavailableError

MAY_INSTALL = "MINDTRACE_TEST_MAY_INSTALL"
"""The environment variable that allows apt-get, when it is 1."""
NOT_RUN = "not run"
"""The property of a test's report that names the service that was missing."""


def pytest_configure(config: pytest.Config) -> None:
    """Begin: in a worker of pytest-xdist, with what its controller found."""
    sent: dict[str, Any] | None = getattr(config, "workerinput", None)
    provider = Provider(config) if sent is None else Missing(sent["missing"])
    config.pluginmanager.register(provider, "mindtrace-services")


class Missing:
    """Keeps tests from running whose server is missing."""

    def __init__(self, missing: dict[str, str]) -> None:
        self.missing = missing
        """By the name of a marker or fixture, what to do."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test before any of its fixtures looks for the server."""
        for name in self.missing:
            if name in needs(item):
                item.user_properties.append((NOT_RUN, name))
                pytest.skip(f"not run: no {name} here, see the last lines")


def needs(item: pytest.Item) -> set[str]:
    """Name a test's markers and fixtures; `redis(own=True)` counts as `own_redis`."""
    marks = list(item.iter_markers())
    own = {f"own_{mark.name}" for mark in marks if mark.kwargs.get("own")}
    return own | {mark.name for mark in marks} | set(getattr(item, "fixturenames", ()))


def names_of(service: Service) -> set[str]:
    """Name what stands for a service in `Missing.missing`."""
    return {service.marker, service.own_fixture}


class Provider(Missing):
    """Finds the servers, and tells in the end which tests had none."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__({})
        self._config = config
        self._ladder = Ladder(self._say, may_install=os.environ.get(MAY_INSTALL) == "1")
        self._found: list[Found] = []
        self._skipped: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Find all servers if there will be workers: they start next, and inherit."""
        if self._distributes():
            for service in SERVICES:
                self._provide(service)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker what is missing."""
        node.workerinput["missing"] = self.missing

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Find the servers that the selected tests need."""
        if self._distributes() or self._config.option.collectonly:
            return
        needed = {name for item in session.items for name in needs(item)}
        for service in SERVICES:
            if service.marker in needed:
                self._provide(service)
            if service.own_fixture in needed:
                self._provide_binary(service)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the tests that did not run."""
        if report.when == "setup":
            self._skipped.update(
                str(who) for what, who in report.user_properties if what == NOT_RUN
            )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run of a CI: tests that did not run prove nothing."""
        names = {name for each in SERVICES if each.may_be_had() for name in names_of(each)}
        if not names.isdisjoint(self._skipped) and os.environ.get("CI") == "true":
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, object, object]:
        """Say after all else, just before the closing line, which tests did not run."""
        result = yield
        for name, count in self._skipped.items():
            terminalreporter.write_line(
                f"NOT RUN for want of {name}: {count} of the tests. {self.missing[name]}",
                yellow=True,
            )
        return result

    def pytest_unconfigure(self) -> None:
        """Stop what was started."""
        while self._found:
            self._found.pop().close()

    def _distributes(self) -> bool:
        return bool(getattr(self._config.option, "tx", None))

    def _provide(self, service: Service) -> None:
        try:
            found = self._ladder.find(service)
        except UnavailableError as why:
            self.missing[service.marker] = str(why)
        else:
            self._found.append(found)
            self._say(f"{service.name}: {found.how}")
            os.environ[service.variable] = found.url

    def _provide_binary(self, service: Service) -> None:
        try:
            self._ladder.install_missing(service)
        except MissedError as why:
            self.missing[service.own_fixture] = (
                f"They start a {service.name} of their own; {service.installing}. Tried: {why}."
            )

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line)
