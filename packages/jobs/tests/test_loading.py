"""Backends by URL, by settings, by another process's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mindtrace.core import InvalidSettingError
from mindtrace.jobs import LocalClient, Orchestrator, OrchestratorBackend, backend_from_url
from mindtrace.jobs.loading import backend_from_args, backend_from_settings, local_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("memory://", None),
        ("sqlite:///jobs", "jobs"),
        ("sqlite:///some/where", "some/where"),
        ("sqlite:////srv/jobs", "/srv/jobs"),
        ("sqlite:///with%20space", "with space"),
        ("sqlite:///~/jobs", "~/jobs"),
    ],
)
def test_a_url_names_a_folder(url: str, folder: str | None) -> None:
    assert local_folder(url) == folder


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://jobs", "sqlite://host/jobs"])
def test_a_sqlite_url_without_a_folder_says_what_it_should_be(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///folder"):
        backend_from_url(url)


@pytest.mark.parametrize(
    "url", ["", "jobs", "://x", "file:///x", "local://x", "rabbitmq://x", "http://host"]
)
def test_a_url_of_no_backend_names_the_known_schemes(url: str) -> None:
    with pytest.raises(ValueError, match=r"amqp://, amqps://, memory://, redis://.*sqlite://"):
        backend_from_url(url)


@pytest.mark.parametrize(
    ("url", "backend"),
    [
        ("redis://host", "redis"),
        ("rediss://host", "redis"),
        ("amqp://host", "rabbitmq"),
        ("amqps://host", "rabbitmq"),
    ],
)
def test_a_url_of_a_broker_asks_for_its_package(url: str, backend: str) -> None:
    try:
        client = backend_from_url(url)
    except ImportError as error:
        assert f"pip install 'mindtrace-jobs[{backend}]'" in str(error)  # noqa: PT017 - or it is there
    else:
        assert client.store.backend == backend


def test_a_folder_is_made_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with backend_from_url("sqlite:///jobs") as client:
        client.declare_queue("tasks")

    assert (tmp_path / "jobs" / "jobs.db").is_file()


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with LocalClient.from_url("sqlite:///~/jobs") as client:
        assert client.client_dir == (tmp_path / "jobs").resolve()


def test_two_urls_in_memory_are_two_places() -> None:
    one, two = backend_from_url("memory://"), backend_from_url("memory://")

    one.declare_queue("tasks")

    assert two.store.queues() == {}


def test_the_settings_name_a_url(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", f"sqlite:///{folder}")

    client = backend_from_settings()

    assert isinstance(client, LocalClient)
    assert client.client_dir == folder


def test_without_a_url_it_is_the_configured_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MINDTRACE_JOBS__BACKEND_URL", raising=False)
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))

    client = backend_from_settings()

    assert isinstance(client, LocalClient)
    assert client.client_dir is not None
    assert client.client_dir.is_relative_to(tmp_path)


def test_a_bad_url_in_the_settings_is_an_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", "postgres://user:hunter2@host")

    with pytest.raises((ValueError, InvalidSettingError)) as caught:
        Orchestrator()

    assert "hunter2" not in str(caught.value)


def test_arguments_of_a_client_make_one_like_it(folder: Path) -> None:
    with LocalClient(folder, durability="full") as client:
        again = backend_from_args(client.consumer_backend_args)

    assert isinstance(again, LocalClient)
    assert (again.client_dir, again.durability) == (folder, "full")


@pytest.mark.parametrize("args", [{}, {"backend": None}, {"backend": 5}, {"kwargs": {}}])
def test_arguments_of_another_shape_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="consumer_backend_args"):
        backend_from_args(args)


def test_a_backend_without_urls_says_so() -> None:
    with pytest.raises(NotImplementedError, match="OrchestratorBackend cannot be made from a URL"):
        OrchestratorBackend.from_url("x://")


def test_a_backend_without_arguments_for_other_processes_says_so(client: LocalClient) -> None:
    bare = OrchestratorBackend(client.store)

    with pytest.raises(NotImplementedError, match="another process"):
        _ = bare.consumer_backend_args
