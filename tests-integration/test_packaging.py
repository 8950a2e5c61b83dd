"""Each package installs alone from its wheel, and imports there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.process
@pytest.mark.timeout(300)
def test_every_package_installs_alone_from_its_wheel() -> None:
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
