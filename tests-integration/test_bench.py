"""The benchmark as a real process: it runs, says everything, and leaves nothing behind.

Never a time: what is fast enough on which machine is for the reader of the table.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
MEASURES = {
    "publish": ["publish, an input a call", "publish, job_from_schema a call"],
    "publish_many": ["publish_many (1000)"],
    "consume": ["consume, no-op handler"],
    "depth": [
        "depth 100, publish + consume, fifo",
        "depth 100, publish + consume, the raw floor itself",
    ],
    "latency": [
        "publish -> handler started, idle consumer, p50",
        "publish -> handler started, idle consumer, p99",
        "round trip, submit -> result(), p50",
    ],
    "idle": ["idle consumer, CPU over 0.3 s"],
    "memory": ["RSS of a consumer process after 100 jobs", "RSS growth from job 10 to job 100"],
    "takeover": ["takeover after SIGKILL of the holder, slowest of 1"],
    "import": [
        "import mindtrace.jobs, beyond pydantic",
        "the same, with Consumer, LocalClient, Orchestrator",
    ],
}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tools.bench", *words]


def bench(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def measures(found: dict[str, Any]) -> list[str]:
    return [row["measure"] for row in found["rows"]]


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_every_measure_is_printed_and_written_as_json(tmp_path: Path, durability: str) -> None:
    written = tmp_path / "found.json"
    folder = tmp_path / "folder"
    folder.mkdir()

    done = bench(
        *("jobs", "--backend", "local", "--quick", "--no-peers", "--durability", durability),
        *("--folder", str(folder), "--json", str(written)),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())
    assert measures(found) == [row for name in MEASURES for row in MEASURES[name]]
    assert found["skipped"] == {"peers": "--no-peers"}
    assert found["failed"] == {}
    assert found["facts"]["synchronous"] == durability
    for row in found["rows"]:
        assert row["measure"] in done.stdout
        assert row["ours"]["value"] >= 0 or "growth" in row["measure"]
        assert row["verdict"] in ({"ok", "MISSED"} if row["bar"] else {""})
    assert "peers: skipped, --no-peers" in done.stdout
    assert list(folder.iterdir()) == []


def test_one_measure_as_json_on_the_output(tmp_path: Path) -> None:
    done = bench("--quick", "--only", "consume,publish_many", "--json", "-", TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert measures(json.loads(done.stdout)) == ["consume, no-op handler", "publish_many (1000)"]
    assert list(tmp_path.iterdir()) == []


def test_every_queue_type_has_a_depth() -> None:
    done = bench("--quick", "--only", "depth", "--queue-types", "stack,priority", "--count", "9")

    assert done.returncode == 0, done.stderr
    assert "publish + consume, stack" in done.stdout
    assert "publish + consume, priority" in done.stdout


def test_without_uv_the_peers_are_one_line_and_the_rest_runs() -> None:
    done = bench("--quick", "--only", "peers,consume", UV="/nowhere/uv")

    assert done.returncode == 0, done.stderr
    assert "peers: skipped, uv cannot be started: No such file or directory\n" in done.stdout
    assert "consume, no-op handler" in done.stdout


def test_unknown_words_are_refused() -> None:
    done = bench("--only", "speed")

    assert done.returncode == 2
    assert "there is no 'speed'; there are publish, publish_many, consume" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_file_and_no_process(tmp_path: Path, sent: signal.Signals) -> None:
    words = command("--quick", "--only", "import,takeover", "--folder", str(tmp_path))
    running = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with running:
        assert running.stderr is not None
        while "takeover" not in running.stderr.readline():
            assert running.poll() is None
        process = psutil.Process(running.pid)
        while not (children := process.children(recursive=True)):
            assert running.poll() is None
        threading.Event().wait(0.3)  # in the middle of things, rather than of starting a process
        running.send_signal(sent)
        output, errors = running.communicate(timeout=30)

    assert running.returncode == 130, errors
    assert "import mindtrace.jobs, beyond pydantic" in output
    assert not any(child.is_running() for child in children)
    assert list(tmp_path.iterdir()) == []
