"""Every form of the registry keeps the same promises."""

import threading
from pathlib import Path

import pytest
from object_store import ObjectStore
from pydantic import ValidationError

from mindtrace.cluster import ProxyWorker
from mindtrace.cluster.core.types import RegisterJobToWorkerInput, RegisterWorkerTypeInput
from mindtrace.cluster.errors import RegistryUnavailableError, WorkerTypeNotFoundError
from mindtrace.cluster.ports.registry import WorkerRegistry, open_registry

WORKER = ProxyWorker(
    worker_type="package.module.Class",
    worker_params={"a": [1, None], "ü": "'\""},
    git_branch="main",
)


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'types'}"
    store: ObjectStore = request.getfixturevalue("s3")
    return store.url(f"bucket-{abs(hash(str(tmp_path))) % 10**9}")


@pytest.fixture
def registry(url: str) -> WorkerRegistry:
    return open_registry(url)


def test_a_worker_type_comes_out_as_it_went_in(registry: WorkerRegistry, url: str) -> None:
    registry.save("echo", WORKER)

    assert registry.load("echo") == WORKER
    assert open_registry(url).load("echo") == WORKER


def test_names_are_listed_in_order(registry: WorkerRegistry) -> None:
    assert registry.names() == []
    for name in ("b", "a.1", "c-2"):
        registry.save(name, WORKER)

    assert registry.names() == ["a.1", "b", "c-2"]


def test_saving_again_replaces(registry: WorkerRegistry) -> None:
    registry.save("echo", WORKER)
    registry.save("echo", ProxyWorker(worker_type="another.Class"))

    assert registry.load("echo").worker_type == "another.Class"
    assert registry.names() == ["echo"]


def test_a_type_that_nobody_registered_is_named_with_those_there_are(
    registry: WorkerRegistry,
) -> None:
    registry.save("echo", WORKER)

    with pytest.raises(
        WorkerTypeNotFoundError, match=r"no worker type 'ecco'; registered are: echo"
    ):
        registry.load("ecco")


def test_a_type_can_be_removed(registry: WorkerRegistry) -> None:
    registry.save("echo", WORKER)
    registry.remove("echo")
    registry.remove("echo")

    assert registry.names() == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a\n", "ü", "x" * 129])
def test_a_name_that_would_leave_its_place_is_refused(registry: WorkerRegistry, name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a worker type"):
        registry.save(name, WORKER)
    with pytest.raises(ValueError, match="is no name of a worker type"):
        registry.load(name)


def test_readers_find_old_or_new_but_never_half(registry: WorkerRegistry) -> None:
    registry.save("echo", WORKER)
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            registry.save(
                "echo", ProxyWorker(worker_type=f"m.C{number}", worker_params={"x": "y" * 5000})
            )
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        registry.load("echo")
    thread.join()

    assert registry.load("echo").worker_type == "m.C19"


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    registry = open_registry(f"file://{tmp_path}")
    (tmp_path / "echo.json").write_text('{"worker_params": 5}')

    with pytest.raises(RegistryUnavailableError, match="the document of 'echo' is damaged"):
        registry.load("echo")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RegistryUnavailableError, match="file/below cannot be used"):
        open_registry(f"file://{tmp_path / 'file' / 'below'}").save("echo", WORKER)


def test_a_wrong_key_is_said_without_showing_it(s3: ObjectStore) -> None:
    registry = open_registry(s3._replace(secret_key="wrong-secret").url())

    with pytest.raises(RegistryUnavailableError, match="key") as caught:
        registry.names()
    assert "wrong-secret" not in str(caught.value)


def test_a_store_that_is_not_there_is_named() -> None:
    with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:1/workers cannot be used"):
        open_registry("s3://key:secret@127.0.0.1:1/workers").names()


@pytest.mark.parametrize("name", ["Worker", "__main__.Worker", ".Worker"])
def test_a_class_that_no_node_can_import_is_refused_where_it_is_registered(name: str) -> None:
    with pytest.raises(ValidationError, match="register_job_to_worker"):
        RegisterWorkerTypeInput(worker_name="mine", worker_class=name)


def test_a_secret_that_is_not_quoted_is_not_shown() -> None:
    with pytest.raises(ValueError, match="'/' is written %2F") as caught:
        open_registry("s3://key:hidden/secret@127.0.0.1:1/workers")

    assert "hidden" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_job_type_may_not_have_the_name_of_what_is_the_managers_own() -> None:
    with pytest.raises(ValidationError, match="job_type"):
        RegisterJobToWorkerInput(job_type="@endpoints", worker_url="http://localhost:1/")
