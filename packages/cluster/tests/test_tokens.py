"""Who may do what with a cluster, and how services on one machine keep to their own user."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from mindtrace.cluster import ClusterManager, Node
from mindtrace.cluster.__main__ import app
from mindtrace.cluster.core.types import BackendArgs, Mark
from mindtrace.cluster.errors import OtherMachineError
from mindtrace.cluster.folders import check_same, prepared
from mindtrace.cluster.places import node_answer
from mindtrace.cluster.settings import ClusterSettings, Places
from mindtrace.cluster.tokens import client_tokens, own_token
from mindtrace.cluster.workers.echo_worker import EchoWorker
from mindtrace.core.settings import get_config
from mindtrace.jobs import JobSchema, job_from_schema
from mindtrace.services import AccessDeniedError, ServiceError, ServiceLaunchError
from mindtrace.services.samples.echo_service import EchoInput

ECHO = JobSchema(name="echo_job", input_schema=EchoInput)
CALLS: dict[str, tuple[str, dict[str, str] | None]] = {
    "submit": ("list_jobs", {}),
    "node": ("register_node", {"node_url": "http://localhost:1/"}),
    "admin": ("clear_databases", None),
    "apps": ("registered_apps", None),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
    return tmp_path


def statuses(manager: Any, token: str | None) -> dict[str, int]:
    """Return what a manager answers to calls of each kind."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return {
        kind: httpx.post(f"{manager.url}{path}", json=body, headers=headers).status_code
        for kind, (path, body) in CALLS.items()
    }


@pytest.mark.process
def test_an_embedded_cluster_opens_to_its_own_user_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ClusterManager.launch(port=0) as cluster, EchoWorker.launch(port=0) as worker:
        secret = root / "clusters" / "secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert statuses(cluster, None) == dict.fromkeys(CALLS, 401)
        mine = CliRunner().invoke(app, ["token", str(cluster.url)]).stdout.strip()
        assert mine == own_token(cluster.url, get_config())
        assert mine not in secret.read_text()
        assert statuses(cluster, mine) == dict.fromkeys(CALLS, 200)
        # the token of one service is none for another
        assert statuses(cluster, own_token(worker.url, get_config()))["submit"] == 401
        run = httpx.post(f"{worker.url}run", json={"message": "mine"})
        assert run.status_code == 401
        assert worker.run({"message": "yours"})["output"] == {"echoed": "yours"}

        # the gateway opens what its own user's calls would open
        cluster.register_app(name="echo", url=str(worker.url), connection_manager=worker)
        assert cluster.echo.run({"message": "there"})["output"] == {"echoed": "there"}

        # somebody else has another folder, or may not read this one
        with monkeypatch.context() as other:
            other.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path_factory.mktemp("other")))
            stranger = ClusterManager.connect(str(cluster.url))
            with pytest.raises(AccessDeniedError, match="MINDTRACE_SERVICES__API_TOKEN"):
                stranger.list_jobs()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path_factory.mktemp("root")))
        patch.setenv("MINDTRACE_SERVICES__ADMIN_TOKEN", "the-admin")
        patch.setenv("MINDTRACE_SERVICES__API_TOKEN", "the-api")
        patch.setenv("MINDTRACE_CLUSTER__NODE_TOKEN", "the-node")
        patch.setenv("MINDTRACE_CLUSTER__SUBMIT_TOKEN", "the-submit")
        cluster = ClusterManager.launch(port=0)
    with cluster:
        yield cluster


@pytest.mark.process
@pytest.mark.parametrize(
    ("token", "opened"),
    [
        ("the-admin", {"submit", "node", "admin", "apps"}),
        ("the-api", {"submit", "node", "apps"}),
        ("the-node", {"node", "apps"}),
        ("the-submit", {"submit"}),
    ],
)
def test_a_token_opens_its_scope(guarded: Any, token: str, opened: set[str]) -> None:
    found = statuses(guarded, token)

    assert found == {kind: 200 if kind in opened else 403 for kind in CALLS}


@pytest.mark.process
def test_without_a_token_only_health_is_open(guarded: Any) -> None:
    assert statuses(guarded, None) == dict.fromkeys(CALLS, 401)
    assert httpx.post(f"{guarded.url}status").status_code == 200
    for path in ("openapi.json", "docs", "shutdown"):
        assert httpx.post(f"{guarded.url}{path}").status_code == 401
    for token in ("the-submit", "the-node", "the-api"):
        refused = httpx.post(f"{guarded.url}shutdown", headers={"authorization": f"Bearer {token}"})
        assert refused.status_code == 403


@pytest.mark.process
def test_a_token_that_is_not_known_is_refused_with_what_to_set(guarded: Any) -> None:
    """Clients show one of their own user's where none is set, and would not say what is missing."""
    found = httpx.post(f"{guarded.url}list_nodes", headers={"authorization": "Bearer another"})

    assert found.status_code == 401
    assert found.json()["error"]["message"] == (
        "the token is not the one of this service; set MINDTRACE_SERVICES__API_TOKEN or "
        "MINDTRACE_SERVICES__ADMIN_TOKEN or MINDTRACE_CLUSTER__SUBMIT_TOKEN"
    )


@pytest.mark.process
def test_nodes_and_submitters_need_no_more_than_their_own_token(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDTRACE_CLUSTER__NODE_TOKEN", "the-node")
    monkeypatch.setenv("MINDTRACE_CLUSTER__SUBMIT_TOKEN", "the-submit")
    with ClusterManager.launch(port=0) as cluster:
        # what opens the rest is this user's own
        cluster.register_job_to_endpoint(job_type="echo_job", endpoint="echo/run")
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("MINDTRACE_DIR_PATHS__ROOT", str(root / "other"))
            client = ClusterManager.connect(str(cluster.url))
            assert client.list_jobs().jobs == []
            with pytest.raises(AccessDeniedError, match="this takes another token"):
                client.clear_databases()
            elsewhere.setenv("MINDTRACE_CLUSTER__FOLDER", str(root / "other"))
            with EchoWorker.launch(port=0) as worker:
                cluster.register_job_to_worker(job_type="echo_job", worker_url=str(worker.url))
                job = job_from_schema(ECHO, {"message": "by token"})
                client.submit_job(job)
                done = client.wait_for_job(job_id=job.id, timeout=30)
                assert done.output == {"echoed": "by token"}
            with Node.launch(port=0, cluster_url=str(cluster.url)) as node:
                assert [each.node_url for each in client.list_nodes().nodes] == [str(node.url)]


@pytest.mark.process
def test_no_address_is_called_but_that_of_a_node_that_joined(root: Path) -> None:
    del root
    missing = pytest.raises(ServiceError, match="No node at http://localhost:1/ has joined")
    with ClusterManager.launch(port=0) as cluster, missing:
        cluster.launch_worker(node_url="http://localhost:1/", worker_type="echo_worker")


def test_without_a_service_of_this_user_there_is_no_token(root: Path) -> None:
    del root
    done = CliRunner().invoke(app, ["token", "http://localhost:8002"])

    assert done.exit_code == 1
    assert "no service of this user was launched at http://localhost:8002" in done.stderr


def test_nodes_may_have_a_key_to_the_registry_of_their_own() -> None:
    places = Places("amqp://u:p@mq/", "redis://r/0", "redis://r/0", "s3://all:secret@minio:9000/b")
    settings = ClusterSettings(node_registry_url=SecretStr("s3://reads:only@minio:9000/b"))
    args, mark = BackendArgs(backend="rabbitmq"), Mark(folder="/nowhere", id="1")

    answer = node_answer(places, settings, args, mark)

    assert answer.registry_url == settings.node_registry_url
    assert (answer.access_key, answer.secret_key) == ("reads", SecretStr("only"))
    assert "secret" not in answer.model_dump_json().replace("secret_key", "")
    assert answer.mark is None


def test_a_token_of_this_machine_is_shown_to_no_other(root: Path) -> None:
    prepared(root / "clusters" / "localhost-1", "owner", empty=False)
    (root / "clusters" / "secret").write_text("a secret")
    config = get_config()
    here, there = (
        EchoWorker.build_url(each) for each in ("http://[::1]:80", "http://[2001::1]:80")
    )

    assert own_token(here, config) == own_token(EchoWorker.build_url("http://localhost:80"), config)
    assert own_token(there, config) is None
    assert client_tokens(there, [], config) == []


# whether a node or a worker sees the cluster's folder


def test_a_folder_of_the_same_path_on_another_machine_is_noticed(tmp_path: Path) -> None:
    mark = prepared(tmp_path / "cluster", "one", empty=False)

    check_same(None)
    check_same(mark)
    for other in (Mark(folder=mark.folder, id="two"), Mark(folder="/nowhere", id="one")):
        with pytest.raises(OtherMachineError, match="set MINDTRACE_CLUSTER__QUEUE_URL"):
            check_same(other)


def test_what_an_older_cluster_left_on_a_port_that_was_free_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "localhost-30000"
    prepared(folder, "old", empty=True)
    (folder / "jobs").write_text("kept")

    assert prepared(folder, "new", empty=True).id == "new"
    assert prepared(folder, "new", empty=True).id == "new"  # another process of it

    assert not (folder / "jobs").exists()
    (aside,) = tmp_path.glob("localhost-30000-until-*")
    assert (aside / "jobs").read_text() == "kept"


def test_a_cluster_that_is_started_again_has_its_folder(tmp_path: Path) -> None:
    prepared(tmp_path / "it", "old", empty=False)

    assert prepared(tmp_path / "it", "new", empty=False).id == "old"


@pytest.mark.process
def test_a_node_of_another_machine_is_told_what_to_set(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDTRACE_SERVICES__API_TOKEN", "the-api")
    with ClusterManager.launch(port=0) as cluster:
        (mark,) = (root / "clusters").glob("*/id")
        mark.write_text("as it is on the other machine")  # which has a folder of this name as well
        with pytest.raises(ServiceLaunchError, match="MINDTRACE_CLUSTER__REGISTRY_URL"):
            Node.launch(port=0, cluster_url=str(cluster.url))
