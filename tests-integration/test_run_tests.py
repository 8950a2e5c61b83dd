"""The test runner, as a real process in a small checkout of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


def ds_test(checkout: Path, words: str) -> "subprocess.CompletedProcess[str]":
    """Run what `ds test:` runs, with the words split as ds splits them."""
    return subprocess.run(
        [sys.executable, "-m", "tools.run_tests", *words.split()],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ("", 6),
        ("--unit", 2),
        ("one --unit", 1),
        ("--integration one", 3),
        ("two --stress", 1),
        ("one -q two", 4),
        ("one -k plain or process", 2),
        ("one -k not plain --maxfail 1", 1),
        ("-k plain two", 1),
        ("packages/one/tests/test_it.py", 2),
    ],
)
def test_words_choose_tests(checkout: Path, words: str, passed: int) -> None:
    done = ds_test(checkout, words)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout.splitlines()[-1]


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
