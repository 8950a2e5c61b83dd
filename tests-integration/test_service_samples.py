"""The samples of services, run as a user runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.integration]

OFFERED = "endpoints, status, heartbeat, server_id, class_name, pid_file, shutdown, echo"
SAMPLES = Path(__file__).parent.parent / "samples" / "services"


def run(sample: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a sample to its end, where nothing of it is in the current folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", SAMPLES / sample],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (
            "echo.py",
            [
                "keywords: echoed='Hello'",
                "a model:  echoed='Hello again'",
                "status:   Available",
                f"offers:   {OFFERED}",
                "refused:  delay: Input should be greater than or equal to 0",
                "gone:     Down",
            ],
        ),
        (
            "state.py",
            [
                "name='pears' value=1",
                "name='pears' value=2",
                "name='pears' value=3",
                "name='apples' value=3",
                "counters={'apples': 3, 'pears': 3}",
                "404: there is no counter 'pears'",
                "counters={'apples': 3}",
            ],
        ),
        ("async_client.py", ["20 answers, the last to 'call 19'", "status: Available"]),
    ],
)
def test_a_sample_shows_what_it_says(tmp_path: Path, sample: str, expected: list[str]) -> None:
    done = run(sample, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected
    assert list(tmp_path.iterdir()) == []
