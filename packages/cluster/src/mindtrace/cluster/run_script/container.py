"""What a job asks of a container, checked against what the worker allows. No engine is needed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script.types import Mount

if TYPE_CHECKING:
    from mindtrace.cluster.run_script.settings import RunScriptSettings
    from mindtrace.cluster.run_script.types import DockerSpec

_SET = "MINDTRACE_RUN_SCRIPT__"
_WITHOUT_PORTS = ("none", "host")


class Volume(NamedTuple):
    """A folder of the host, links followed, and where it is in the container."""

    source: Path
    target: str
    read_only: bool


class Container(NamedTuple):
    """What a container is made with, as far as the worker has a say in it."""

    image: str
    volumes: list[Volume]
    devices: list[str]
    ports: dict[str, int | None]
    pull: str
    network: str
    user: str
    read_only: bool
    capabilities: list[str]
    gpus: int | None


def container_of(spec: DockerSpec, settings: RunScriptSettings) -> Container:
    """Return what a job gets.

    Raises:
        RunScriptError: It asks for what the worker does not allow; it says by what setting.
    """
    if not any(fnmatchcase(spec.image, each) for each in settings.images):
        raise _refused(f"the image {spec.image}", "IMAGES")
    network = spec.network or settings.networks[0]
    if network not in settings.networks:
        raise _refused(f"the network {network!r}", "NETWORKS")
    user = spec.user or settings.user
    if user != settings.user and not settings.any_user:
        raise _refused(f"the user {user}", "ANY_USER")
    if not (spec.read_only or settings.writable_root):
        raise _refused("a root that can be written", "WRITABLE_ROOT")
    if spec.gpus is not None and not settings.gpus:
        raise _refused("a GPU", "GPUS")
    if spec.ports and not settings.ports:
        raise _refused("publishing ports", "PORTS")
    if spec.ports and network in _WITHOUT_PORTS:
        problem = f"no port can be published on the network {network!r}; name another one"
        raise RunScriptError(problem)
    return Container(
        image=spec.image,
        volumes=[_volume(source, mount, settings) for source, mount in spec.volumes.items()],
        devices=_devices(spec, settings),
        ports=spec.ports,
        pull=spec.pull or settings.pull,
        network=network,
        user=user,
        read_only=spec.read_only,
        capabilities=_capabilities(spec, settings),
        gpus=spec.gpus,
    )


def _refused(what: str, setting: str) -> RunScriptError:
    return RunScriptError(f"the worker does not allow {what} ({_SET}{setting})")


def _devices(spec: DockerSpec, settings: RunScriptSettings) -> list[str]:
    for each in spec.devices:
        if each.partition(":")[0] not in settings.devices:
            raise _refused(f"the device {each}", "DEVICES")
    return spec.devices


def _capabilities(spec: DockerSpec, settings: RunScriptSettings) -> list[str]:
    allowed = {_capability(each) for each in settings.capabilities}
    asked = [_capability(each) for each in spec.capabilities]
    for each in asked:
        if each not in allowed:
            raise _refused(f"the capability {each}", "CAPABILITIES")
    return asked


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _volume(source: str, mount: Mount | str, settings: RunScriptSettings) -> Volume:
    mount = mount if isinstance(mount, Mount) else Mount(bind=mount)
    if not (Path(source).is_absolute() and Path(mount.bind).is_absolute()):
        problem = f"the volume {source}:{mount.bind} needs absolute paths"
        raise RunScriptError(problem)
    # links followed now, and what is found is mounted
    found = Path(source).resolve()
    writes = [_root(each) for each in settings.volume_roots if each.endswith(":rw")]
    reads = [_root(each) for each in settings.volume_roots]
    if not any(found.is_relative_to(each) for each in reads):
        raise _refused(f"the volume {source}", "VOLUME_ROOTS")
    if mount.mode == "rw" and not any(found.is_relative_to(each) for each in writes):
        raise _refused(f"writing to the volume {source}", "VOLUME_ROOTS")
    if not found.exists():
        problem = f"the volume {source} is not there"
        raise RunScriptError(problem)
    return Volume(found, mount.bind, mount.mode == "ro")


def _root(setting: str) -> Path:
    return Path(setting.removesuffix(":rw")).expanduser().resolve()
