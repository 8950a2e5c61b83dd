"""What docker-compose.yml promises, read from its text: `ds check` asks Docker whether it is valid.

That takes the plugin of Docker, which not every machine has; this runs everywhere.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.core import TyperGroup as Group
from typer.main import get_command
from typer.testing import CliRunner

from mindtrace.cluster.__main__ import app
from mindtrace.cluster.settings import cluster_settings, places_of
from mindtrace.core import get_config
from mindtrace.services.framing import LEEWAY
from mindtrace.services.settings import services_settings
from tools.services.catalogue import SERVICES, Service

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
READER: Any = YAML(typ="safe")  # its own types are incomplete
COMPOSE: dict[str, Any] = READER.load(FILE)
ALL: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {name: each for name, each in ALL.items() if "profiles" not in each}
CLUSTER = {name: each for name, each in ALL.items() if "profiles" in each}
NODES = {name: each for name, each in CLUSTER.items() if each["command"][0] == "node"}


def test_it_has_the_three_servers() -> None:
    assert set(SERVERS) == {"redis", "rabbitmq", "minio"}


@pytest.mark.parametrize("name", SERVERS)
def test_nobody_but_this_machine_reaches_a_server(name: str) -> None:
    assert SERVERS[name]["ports"]
    assert all(port.startswith("127.0.0.1:${") for port in SERVERS[name]["ports"])


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_watched_and_keeps_its_data(name: str) -> None:
    assert SERVERS[name]["healthcheck"]["test"][0] == "CMD"
    volumes = [volume.partition(":")[0] for volume in SERVERS[name]["volumes"]]
    assert volumes == [name]
    assert name in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVERS)
def test_image_and_credentials_can_be_set(name: str) -> None:
    values = [SERVERS[name]["image"], *SERVERS[name].get("environment", {}).values()]

    assert all(value.startswith(f"${{{name.upper()}_") for value in values)


def test_redis_keeps_what_it_acknowledged() -> None:
    command = " ".join(SERVERS["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize(
    "service", [each for each in SERVICES if each.image], ids=lambda service: service.name
)
def test_the_tests_find_what_it_starts_and_use_the_same_image(service: Service) -> None:
    server = SERVERS[service.marker]
    environment = [default(value) for value in server.get("environment", {}).values()]
    reached = [f"127.0.0.1:{default(port)}" for port in server["ports"]]

    assert default(server["image"]) == service.image
    assert any(
        url.partition("://")[2].startswith(":".join(environment))
        and any(place in url for place in reached)
        for url in service.usual
    )


def test_the_profile_has_a_manager_and_two_nodes() -> None:
    assert set(CLUSTER) == {"manager", "node-1", "node-2"}
    assert set(NODES) == {"node-1", "node-2"}
    assert {tuple(each["profiles"]) for each in CLUSTER.values()} == {("cluster",)}


@pytest.mark.parametrize("name", CLUSTER)
def test_its_parts_run_without_rights_and_end_in_their_own_time(name: str) -> None:
    part = CLUSTER[name]

    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert part["init"] is True
    assert all(port.startswith("127.0.0.1:${") for port in part.get("ports", ()))
    within = services_settings(get_config()).stop_within + LEEWAY
    # a worker ends, then its node
    assert int(part["stop_grace_period"].removesuffix("s")) > 2 * within


@pytest.mark.parametrize("name", CLUSTER)
def test_its_commands_are_those_of_the_command(name: str) -> None:
    part = CLUSTER[name]
    command = get_command(app)
    assert isinstance(command, Group)
    verb, *options = part["command"]

    with command.commands[verb].make_context(verb, options) as context:
        given = context.params

    # the name by which the others call it is the one that it listens on and is asked about
    assert given["host"] == name
    assert f"http://{name}:{given['port']}/status" in part["healthcheck"]["test"][-1]
    if verb == "node":
        manager = command.commands["manager"]
        with manager.make_context("manager", CLUSTER["manager"]["command"][1:]) as context:
            assert given["cluster_url"] == f"http://manager:{context.params['port']}/"


def test_only_the_manager_knows_where_everything_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in CLUSTER["manager"]["environment"].items():
        monkeypatch.setenv(variable, default(value) if value.startswith("$") else value)

    places = places_of(cluster_settings(), Path("unused"))

    user, password = SERVERS["rabbitmq"]["environment"].values()
    assert places.state == "redis://redis:6379"
    assert places.queue == f"amqp://{default(user)}:{default(password)}@rabbitmq:5672"
    user, password = SERVERS["minio"]["environment"].values()
    assert places.registry == f"s3://{default(user)}:{default(password)}@minio:9000/workers"
    for node in NODES.values():
        assert set(node["environment"]) == {"MINDTRACE_CLUSTER__NODE_TOKEN", "PYTHONPATH"}


@pytest.mark.parametrize("name", CLUSTER)
def test_tokens_come_from_outside_and_are_needed(name: str) -> None:
    environment = CLUSTER[name]["environment"]
    tokens = {key: value for key, value in environment.items() if "TOKEN" in key}
    assert tokens
    assert all(value == f"${{{key}:-}}" for key, value in tokens.items())

    # a name of the Internet's own for examples stands for that of the service
    verb, *options = CLUSTER[name]["command"]
    words = [verb, *("192.0.2.1" if word == name else word for word in options)]
    started = CliRunner().invoke(app, words, env=dict.fromkeys(tokens, ""))

    # a line that names one of those that the file hands on
    assert started.exit_code == 2
    (line,) = started.output.splitlines()
    assert any(token in line for token in tokens)


def test_its_image_is_built_once() -> None:
    assert len({each["image"] for each in CLUSTER.values()}) == 1
    assert [name for name, each in CLUSTER.items() if "build" in each] == ["manager"]
    # what the manager builds is in no registry
    assert {each.get("pull_policy") for each in NODES.values()} == {"never"}


def test_the_image_takes_what_is_there_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [
        word
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]

    assert copied
    assert all((ROOT / each).exists() and f"!{each}" in ignored for each in copied)
    (extras,) = [line.split('"')[1].split() for line in lines if line.startswith("ARG EXTRAS")]
    project = tomllib.loads((ROOT / "packages/cluster/pyproject.toml").read_text("utf-8"))
    assert {"redis", "rabbitmq", "minio"} == set(extras)
    assert set(extras) <= set(project["project"]["optional-dependencies"])
    assert default(CLUSTER["manager"]["build"]["args"]["EXTRAS"]).split() == extras
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert int(user) > 0
    assert 'ENTRYPOINT ["mindtrace-cluster"]' in lines


def default(value: str) -> str:
    """Return what `${NAME:-default}` is where NAME is not set."""
    return value.partition(":-")[2].partition("}")[0]
