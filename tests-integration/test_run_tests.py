"""The test runner, as a real process in a small checkout of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.run_tests import KINDS, parse
from tools.services.probe import accepts

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
TESTS = """
import os
import pytest

def test_plain():
    assert "MINDTRACE_STRESS" not in os.environ

@pytest.mark.process
def test_with_process():
    pass

@pytest.mark.stress
def test_stress():
    assert os.environ["MINDTRACE_STRESS"] == "1"
"""

SERVED = """
import os
import pytest

def test_without_server():
    assert "MINDTRACE_TEST_REDIS_URL" not in os.environ

@pytest.mark.redis
def test_redis():
    assert os.environ["MINDTRACE_TEST_REDIS_URL"].startswith("redis://127.0.0.1:")

@pytest.mark.redis(own=True)
def test_redis_again():
    pass

@pytest.mark.rabbitmq
def test_rabbitmq():
    assert os.environ["MINDTRACE_TEST_RABBITMQ_URL"].startswith("amqp://guest:guest@127.0.0.1:")
"""
OURS = {"MINDTRACE_TEST_REDIS_URL", "MINDTRACE_TEST_RABBITMQ_URL", "MINDTRACE_STRESS", "CI"}
NOTHING = {"PATH": "/nowhere", "DOCKER_HOST": "unix:///nowhere"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Two packages and a folder of common tests, each with three tests of different kinds."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("packages/one/tests", "packages/two/tests", "tests-integration"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "test_it.py").write_text(TESTS)
    marks = "import pytest\n\ndef pytest_itemcollected(item):\n    item.add_marker('integration')\n"
    (tmp_path / "tests-integration" / "conftest.py").write_text(marks)
    return tmp_path


@pytest.fixture
def lonely(checkout: Path) -> Path:
    """The same, with tests of servers, where nobody listens at the usual places."""
    catalogue = checkout / "tools/services/catalogue.py"
    usual = catalogue.read_text()
    catalogue.write_text(usual.replace(":6379/", ":1/").replace(":5672/", ":1/"))
    (checkout / "packages/one/tests/test_served.py").write_text(SERVED)
    return checkout


def ds_test(checkout: Path, words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run what `ds test:` runs, with the words split as ds splits them."""
    return subprocess.run(
        [sys.executable, "-m", "tools.run_tests", *words.split()],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name not in OURS} | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ("", 6),
        ("two --stress", 1),
        ("one -k not plain --maxfail 1", 1),
        ("packages/one/tests/test_it.py", 2),
    ],
)
def test_words_choose_tests(checkout: Path, words: str, passed: int) -> None:
    done = ds_test(checkout, words)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "kind", "modules", "passed_on"),
    [
        ("--unit", "unit", [], []),
        ("core --unit", "unit", ["core"], []),
        ("--integration core", "integration", ["core"], []),
        ("core -q jobs", None, ["core", "jobs"], ["-q"]),
        ("core -k plain or process", None, ["core"], ["-k", "plain or process"]),
        ("-k plain core", None, ["core"], ["-k", "plain"]),
        ("-x core --durations 3 -n 2", None, ["core"], ["-x", "--durations", "3", "-n", "2"]),
    ],
)
def test_words_come_in_any_order(
    words: str, kind: str | None, modules: list[str], passed_on: list[str]
) -> None:
    asked = parse(words.split())

    assert (asked.kind, asked.modules, asked.passed_on) == (kind, modules, passed_on)
    assert asked.expression == f"({KINDS[kind]})"


def test_an_unknown_module_is_one_line(checkout: Path) -> None:
    done = ds_test(checkout, "three")

    assert done.returncode == 2
    assert done.stderr == "ds test: unknown module 'three'; the modules are: one, two.\n"


def test_no_matching_test_is_a_failure(checkout: Path) -> None:
    done = ds_test(checkout, "one -k nothing")

    assert done.returncode == 5
    assert "counted as a failure" in done.stdout.splitlines()[-1]


def test_a_failing_test_fails_the_run(checkout: Path) -> None:
    (checkout / "packages/one/tests/test_it.py").write_text("def test_it(): assert False")

    assert ds_test(checkout, "one").returncode == 1


@pytest.mark.parametrize(
    ("spread", "ci", "code"), [("", "", 0), ("", "true", 1), ("-n 2", "true", 1)]
)
def test_what_has_no_server_is_told_last_and_fails_ci(
    lonely: Path, spread: str, ci: str, code: int
) -> None:
    done = ds_test(lonely, f"one --no-install {spread} -k served", CI=ci, **NOTHING)

    *_, one, other, closing = done.stdout.splitlines()
    assert sorted(line.partition(". ")[0] for line in (one, other)) == [
        "NOT RUN for want of rabbitmq: 1 of the tests",
        "NOT RUN for want of redis: 2 of the tests",
    ]
    assert "1 passed, 3 skipped" in closing
    assert done.returncode == code


@pytest.mark.parametrize("words", ["one --no-install -k without_server", "one --unit"])
def test_no_server_is_looked_for_unless_a_selected_test_needs_one(lonely: Path, words: str) -> None:
    done = ds_test(lonely, words, CI="true", **NOTHING)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT RUN" not in done.stdout


def test_a_server_of_ones_own_takes_a_binary(lonely: Path, own_redis: Callable[..., Any]) -> None:
    there = own_redis()
    words = "one --no-install -k test_redis"
    done = ds_test(lonely, words, CI="true", MINDTRACE_TEST_REDIS_URL=there.url, **NOTHING)

    *_, told, closing = done.stdout.splitlines()
    assert told.startswith("NOT RUN for want of own_redis: 1 of the tests. They start a Redis")
    assert "1 passed, 1 skipped" in closing
    assert done.returncode == 1


@pytest.mark.redis
@pytest.mark.parametrize("spread", ["", pytest.param("-n 2", marks=pytest.mark.stress)])
def test_a_binary_is_started_for_the_tests_and_ends_with_them(
    lonely: Path, own_redis: object, spread: str
) -> None:
    done = ds_test(lonely, f"one --no-install {spread} -k test_redis", CI="true")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout.splitlines()[-1]
    started = re.search(r"^Redis: 127\.0\.0\.1:(\d+), started from ", done.stdout, re.MULTILINE)
    assert started
    assert not accepts("127.0.0.1", int(started[1]))


def test_help_names_the_servers(checkout: Path) -> None:
    done = ds_test(checkout, "--help")

    assert done.returncode == 0
    assert "--no-install" in done.stdout
    assert "MINDTRACE_TEST_REDIS_URL" in done.stdout
