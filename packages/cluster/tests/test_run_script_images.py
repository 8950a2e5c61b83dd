"""Images of a real engine, found or pulled from a real registry."""

import io
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import docker
import pytest
import requests
from docker.errors import ImageNotFound
from docker_support import make_image

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script.engine import Engine
from mindtrace.cluster.run_script.output import Output
from mindtrace.cluster.run_script.settings import RunScriptSettings
from mindtrace.cluster.run_script.task import Control, Ran, Task
from mindtrace.cluster.run_script.types import RunScriptWorkerInput
from mindtrace.cluster.workers.environments.docker_env import DockerEnvironment
from mindtrace.jobs import Consumer

pytestmark = [
    pytest.mark.process,
    pytest.mark.docker,
    pytest.mark.registry,
    pytest.mark.xdist_group("docker"),
]


class Images:
    """An engine, and a repository of a registry."""

    def __init__(self, folder: Path, host: str, registry: str) -> None:
        self.folder = folder
        self.registry = registry
        self.path = f"mindtrace-test-{uuid4().hex}"
        self.repository = f"{registry.partition('://')[2]}/{self.path}"
        untyped: Any = docker.APIClient
        self.api: Any = untyped(base_url=host)
        self.local = make_image(self.api)
        self.engine = Engine(folder / "workers")

    def close(self) -> None:
        for each in self.api.images(name=f"{self.repository}*"):
            for name in each["RepoTags"] or each["RepoDigests"]:
                self.forget(name)
        self.engine.close()
        self.api.close()

    def pushed(self, tag: str) -> str:
        """Put an image that is no other's into the registry, and return its digest."""
        made = self.api.create_container(self.local, ["true"])
        try:
            self.api.put_archive(made, "/root", _layer())
            self.api.commit(made, self.repository, tag)
        finally:
            self.api.remove_container(made)
        said = list(self.api.push(self.repository, tag, stream=True, decode=True))
        assert not any("error" in each for each in said), said
        digest: str = next(each["aux"]["Digest"] for each in said if "aux" in each)
        self.forget(f"{self.repository}:{tag}")
        return digest

    def forget(self, name: str) -> None:
        with suppress(ImageNotFound):
            self.api.remove_image(name, force=True)

    def lose_layers(self, digest: str) -> None:
        """Take from the registry what an image is made of, but for what says so."""
        url = f"{self.registry}/v2/{self.path}"
        kind = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        manifest = requests.get(f"{url}/manifests/{digest}", headers=kind, timeout=10).json()
        for each in manifest["layers"]:
            gone = requests.delete(f"{url}/blobs/{each['digest']}", timeout=10)
            assert gone.status_code == 202

    def run(
        self,
        image: str,
        pull: str | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        command: str = "echo hello",
    ) -> Ran:
        where = {"image": image} | ({} if pull is None else {"pull": pull})
        job = RunScriptWorkerInput.model_validate(
            {"environment": {"docker": where}, "command": command}
        )
        assert job.environment.docker is not None
        settings = RunScriptSettings()
        folder = self.folder / uuid4().hex
        folder.mkdir()
        with Output(folder) as output:
            control = Control(cancelled, Consumer.progress(), 1 << 20)
            environment = DockerEnvironment(job.environment.docker, self.engine, settings)
            return environment.run(Task.of(job, settings), output, control, folder)


def _layer() -> bytes:
    """Return a file that is in no other image."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        file = tarfile.TarInfo("made")
        text = uuid4().hex.encode()
        file.size = len(text)
        archive.addfile(file, io.BytesIO(text))
    return data.getvalue()


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Images]:
    host = os.environ.get("MINDTRACE_TEST_DOCKER_HOST", "unix:///var/run/docker.sock")
    registry = os.environ.get("MINDTRACE_TEST_REGISTRY_URL", "http://127.0.0.1:5000")
    monkeypatch.setenv("DOCKER_HOST", host)
    found = Images(tmp_path, host, registry)
    yield found
    found.close()


def test_what_is_missing_is_pulled_and_its_digest_told(images: Images) -> None:
    digest = images.pushed("1")
    found = images.run(f"{images.repository}:1")
    exact = f"{images.repository}@{digest}"
    assert (found.ended.code, found.image) == (0, exact)
    # what is told is the very image, whatever becomes of the tag
    images.pushed("1")
    again = images.run(exact, "never")
    assert (again.ended.code, again.image) == (0, exact)
    images.forget(exact)
    assert images.run(exact).image == exact


def test_a_name_without_a_tag_means_the_latest_alone(images: Images) -> None:
    images.pushed("other")
    digest = images.pushed("latest")
    assert images.run(images.repository).image == f"{images.repository}@{digest}"
    assert images.api.images(name=f"{images.repository}:other") == []


def test_the_policy_decides_whether_a_newer_one_is_taken(images: Images) -> None:
    first = images.pushed("1")
    name = f"{images.repository}:1"
    with pytest.raises(RunScriptError, match="it is not to be pulled"):
        images.run(name, "never")
    images.run(name)
    images.api.tag(f"{images.repository}@{first}", f"{images.repository}", "kept")
    second = images.pushed("1")
    images.api.tag(f"{images.repository}:kept", images.repository, "1")
    for policy, digest in (("missing", first), ("never", first), ("always", second)):
        found = images.run(name, policy)
        assert found.image == f"{images.repository}@{digest}", policy


def test_a_pull_that_breaks_off_is_told_and_nothing_older_is_run(images: Images) -> None:
    name = f"{images.repository}:1"
    images.lose_layers(images.pushed("1"))
    with pytest.raises(RunScriptError, match=r"cannot be pulled \(the Docker engine says: .*blob"):
        images.run(name)
    images.api.tag(images.local, images.repository, "1")
    with pytest.raises(RunScriptError, match=r"cannot be pulled \(the Docker engine says: .*blob"):
        images.run(name, "always")


def test_a_registry_that_is_away_is_told(images: Images) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        repository = f"127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(RunScriptError, match=r"cannot be pulled \(.*connection refused"):
            images.run(f"{repository}:1")
        # one that is there is not taken for the newest
        images.api.tag(images.local, repository, "1")
        try:
            assert images.run(f"{repository}:1").ended.code == 0
            with pytest.raises(RunScriptError, match="connection refused"):
                images.run(f"{repository}:1", "always")
        finally:
            images.forget(f"{repository}:1")


def test_a_job_that_waits_for_a_silent_registry_can_be_cancelled(images: Images) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        asked = threading.Event()

        def listen() -> None:
            with silent.accept()[0]:
                asked.set()
                done.wait(60)

        done = threading.Event()
        thread = threading.Thread(target=listen)
        thread.start()
        began = monotonic()
        try:
            with pytest.raises(RunScriptError, match="was not pulled: it was stopped"):
                images.run(f"127.0.0.1:{silent.getsockname()[1]}/x:1", cancelled=asked.is_set)
        finally:
            done.set()
            thread.join()
        assert monotonic() - began < 30


@pytest.mark.parametrize("name", ["UPPER", "a//b", "x:", "x@", "a:b:c", "x" * 300, "a/../b"])
def test_an_odd_name_is_refused(images: Images, name: str) -> None:
    with pytest.raises(RunScriptError, match=r"invalid reference format|must not be more than 255"):
        images.run(f"{images.repository}/{name}")


def test_a_name_that_the_registry_does_not_have_is_told(images: Images) -> None:
    with pytest.raises(RunScriptError, match="manifest unknown"):
        images.run(f"{images.repository}:nobodys")
