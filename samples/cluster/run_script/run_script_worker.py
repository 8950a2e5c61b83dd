"""Run commands as jobs: in a Git checkout, and in a container.

    python samples/cluster/run_script/run_script_worker.py [--repository URL] [--image IMAGE]

Without a repository it makes one, of `test_script.py`. Without an image there is no job in a
container; with one, a Docker engine has to be there. Takes `mindtrace-cluster[git,docker]`.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mindtrace.cluster import ClusterManager
from mindtrace.cluster.workers.run_script_worker import (
    RunScriptWorker,
    RunScriptWorkerInput,
    RunScriptWorkerOutput,
)
from mindtrace.jobs import JobSchema, job_from_schema

SCHEMA = JobSchema(
    name="run_script_demo",
    input_schema=RunScriptWorkerInput,
    output_schema=RunScriptWorkerOutput,
)
SCRIPT = Path(__file__).with_name("test_script.py")


def main(repository: str, image: str | None) -> None:
    """Run one job, or two, and end everything."""
    os.environ["NOT_FOR_JOBS"] = "1"  # a worker hands few of its variables on
    cluster = ClusterManager.launch(host="localhost", port=0, wait_for_launch=True)
    worker = RunScriptWorker.launch(host="localhost", port=0, wait_for_launch=True)
    try:
        cluster.register_job_to_worker(job_type="run_script_demo", worker_url=str(worker.url))
        git = {"git": {"repo_url": repository, "branch": "main", "working_dir": ""}}
        show(cluster, git, "python test_script.py you")
        show(cluster, git, "echo 'this one fails' >&2; exit 3")
        if image is not None:
            show(cluster, {"docker": {"image": image, "working_dir": "/tmp"}}, "echo hello")  # noqa: S108 - of the container
    finally:
        worker.shutdown()
        cluster.clear_databases()
        cluster.shutdown()


def show(cluster: Any, environment: dict[str, Any], command: str) -> None:
    """Run one command, and print how it ended."""
    job = job_from_schema(SCHEMA, {"environment": environment, "command": command, "timeout": 60})
    cluster.submit_job(job)
    status = cluster.wait_for_job(job_id=job.id, timeout=120)
    if "exit_code" not in status.output:
        print(f"{status.status}: {status.output['error']}")
        return
    output = RunScriptWorkerOutput.model_validate(status.output)
    print(f"{status.status}, exit code {output.exit_code}")
    for text in (output.stdout, output.stderr):
        print("".join(f"  {line}\n" for line in text.splitlines()), end="")


def made_repository(folder: Path) -> str:
    """Make a repository of the script, and return its address."""
    shutil.copy(SCRIPT, folder)
    who = ("-c", "user.name=A Sample", "-c", "user.email=sample@localhost")
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "A script"]):
        subprocess.run(["git", *words], cwd=folder, check=True)  # noqa: S603, S607 - as a user does
    return f"file://{folder}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository")
    parser.add_argument("--image")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        main(asked.repository or made_repository(Path(made).resolve()), asked.image)
