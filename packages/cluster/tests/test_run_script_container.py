"""What a job may ask of a container. No engine is needed."""

from pathlib import Path
from typing import Any

import pytest

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script.container import container_of
from mindtrace.cluster.run_script.settings import RunScriptSettings
from mindtrace.cluster.run_script.types import DockerSpec


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    for name in ("data", "results", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "in").symlink_to(tmp_path / "results")
    return tmp_path


def settings(roots: Path, **more: Any) -> RunScriptSettings:
    return RunScriptSettings(volume_roots=[f"{roots}/data", f"{roots}/results:rw"], **more)


def test_a_container_is_narrow_unless_somebody_says_otherwise(roots: Path) -> None:
    found = container_of(DockerSpec(image="ubuntu:22.04"), settings(roots))
    assert found.network == "none"
    assert found.user == "65534:65534"
    assert found.read_only
    assert (found.volumes, found.devices, found.ports, found.capabilities) == ([], [], {}, [])


@pytest.mark.parametrize(
    ("asked", "allowing"),
    [
        ({"image": "other/image"}, {"images": ["ours/*", "other/*"]}),
        ({"network": "bridge"}, {"networks": ["none", "bridge"]}),
        ({"user": "0"}, {"any_user": True}),
        ({"read_only": False}, {"writable_root": True}),
        ({"gpus": -1}, {"gpus": True}),
        ({"ports": {"80/tcp": None}, "network": "b"}, {"ports": True, "networks": ["b"]}),
        ({"devices": ["/dev/kvm:/dev/kvm:r"]}, {"devices": ["/dev/kvm"]}),
        ({"capabilities": ["net_admin"]}, {"capabilities": ["CAP_NET_ADMIN"]}),
    ],
)
def test_a_job_widens_nothing_that_the_worker_does_not_allow(
    roots: Path, asked: dict[str, Any], allowing: dict[str, Any]
) -> None:
    spec = DockerSpec.model_validate({"image": "ours/image"} | asked)
    with pytest.raises(RunScriptError, match=r"does not allow.*MINDTRACE_RUN_SCRIPT__"):
        container_of(spec, settings(roots, images=["ours/*"]))
    container_of(spec, settings(roots, **allowing))


@pytest.mark.parametrize(
    ("source", "mount"),
    [
        ("/", "/host"),
        ("/etc", "/host"),
        ("{roots}", "/host"),
        ("{roots}/secret", "/host"),
        ("{roots}/data/../secret", "/host"),
        ("{roots}/data/out", "/host"),
        ("{roots}/data-not", "/host"),
        ("{roots}/data", {"bind": "/host", "mode": "rw"}),
        ("{roots}/data/nothing", "/host"),
        ("data", "/host"),
        ("{roots}/data", "host"),
        ("/var/run/docker.sock", "/var/run/docker.sock"),
    ],
)
def test_a_volume_lies_below_a_root(roots: Path, source: str, mount: Any) -> None:
    spec = DockerSpec(image="x", volumes={source.format(roots=roots): mount})
    with pytest.raises(RunScriptError, match="volume"):
        container_of(spec, settings(roots))


def test_links_are_followed_before_anything_is_mounted(roots: Path) -> None:
    volumes: Any = {
        f"{roots}/data/in": {"bind": "/results", "mode": "rw"},
        f"{roots}/data": "/data",
    }
    found = container_of(DockerSpec(image="x", volumes=volumes), settings(roots))
    assert found.volumes == [
        (roots.resolve() / "results", "/results", False),
        (roots.resolve() / "data", "/data", True),
    ]


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_port_takes_a_network_on_which_it_can_be_published(roots: Path, network: str) -> None:
    spec = DockerSpec(image="x", network=network, ports={"80": 8080})
    with pytest.raises(
        RunScriptError, match=f"no port can be published on the network '{network}'"
    ):
        container_of(spec, settings(roots, ports=True, networks=["none", "host"]))


@pytest.mark.parametrize(
    "said",
    [
        *({"ports": {port: None}} for port in ("", "http", "80/xyz", "80-82/tcp", "80/tcp\n")),
        *({"ports": {"80": port}} for port in (-1, 0, 65536)),
        *({"gpus": gpus} for gpus in (-2, 0)),
    ],
)
def test_a_number_that_means_nothing_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ports|gpus"):
        DockerSpec.model_validate({"image": "x"} | said)


@pytest.mark.parametrize("image", ["", "--privileged", "-v", "a b", "../x"])
def test_an_image_has_the_name_of_one(image: str) -> None:
    with pytest.raises(ValueError, match="image"):
        DockerSpec(image=image)
