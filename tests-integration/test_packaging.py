"""The wheels install alone, side by side, and by the extras of mindtrace-jobs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.process
@pytest.mark.timeout(600)
def test_wheels_install_alone_side_by_side_and_by_extras() -> None:
    packages = list(ROOT.glob("packages/*/pyproject.toml"))

    done = subprocess.run(
        [sys.executable, "-m", "tools.packaging_check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("installs and imports from its wheel") == len(packages)
    assert f"{len(packages)} packages: install and import side by side\n" in done.stdout
    assert "mindtrace-jobs[redis]: brings mindtrace-jobs-redis\n" in done.stdout
    assert "mindtrace-jobs[rabbitmq]: brings mindtrace-jobs-rabbitmq\n" in done.stdout
