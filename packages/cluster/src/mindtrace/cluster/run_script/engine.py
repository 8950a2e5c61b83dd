"""`Engine`: the Docker engine of a worker, and the containers that killed workers left in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import GivenUpError, Patience, output_of
from mindtrace.core.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from mindtrace.cluster.run_script.container import Volume
    from mindtrace.cluster.run_script.types import Limits

LABEL = "mindtrace.run_script"
"""Of our containers; its value is the file that their worker holds."""

ANSWERS_WITHIN = 60
"""Seconds that the engine may take for one answer."""

PULL_WITHIN = 3600.0
"""Seconds that the pull of an image may take."""

CONNECTIONS = 64

STDOUT = 1
"""The number of the one stream; the other is 2."""

_HEARD_WITHIN = 3.0
"""Seconds after the end of a container within which its engine hears why the kernel killed it."""

_HELD_WITHIN = 60.0
_KILLED = 137
_LOOK_EVERY = 1.0
_PULL = Path(__file__).with_name("pull.py")
_SHOWN = 500
_RECURSIVE = "1.44"
"""The version of the interface since which "read-only" holds for what is mounted below as well."""

_KEPT = {"memory": "MemoryLimit", "processes": "PidsLimit", "cpus": "CpuCfsQuota"}
"""By the names of limits, how an engine says that it can keep them."""

_log = get_logger(__name__)


class Image(NamedTuple):
    """An image of an engine.

    Attributes:
        id: What the engine calls it.
        name: By what it can be had again: the repository with the digest where it was pulled, else
            the same as `id`.
    """

    id: str
    name: str


class Engine:
    """The engine of the environment (`DOCKER_HOST`), in use until it is closed.

    Args:
        folder: Where workers of this machine say that they are there.

    Raises:
        RunScriptError: No engine answers.
        ImportError: The extra `docker` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._url = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        _check_listens(self._url)
        with translating():
            self.api: Any = (
                _docker().from_env(timeout=ANSWERS_WITHIN, max_pool_size=CONNECTIONS).api
            )
        self._can: set[str] | None = None
        self._left: set[str] = set()
        self._hold = Hold.wait(folder / f"{uuid4().hex}.lock", Patience(_HELD_WITHIN))
        self.sweep()

    @property
    def label(self) -> dict[str, str]:
        """What says that a container is ours."""
        return {LABEL: str(self._hold.path)}

    def sweep(self) -> None:
        """Remove the containers of workers of this machine that are gone."""
        with translating():
            for each in self.api.containers(all=True, filters={"label": LABEL}):
                holder = self._folder / each["Labels"][LABEL].rpartition("/")[2]
                if str(holder) != each["Labels"][LABEL]:
                    continue  # of another folder, perhaps of another machine
                hold = Hold.attempt(holder)
                if hold is not None:
                    _log.info("The container %s was left behind; it is removed", each["Id"][:12])
                    self.remove(each["Id"])
                    hold.remove()
        for each in self._folder.glob("*.lock"):
            if (hold := Hold.attempt(each)) is not None:
                hold.remove()

    def check(self, limits: Limits) -> None:
        """Return if the engine can keep limits; it drops those that it cannot, and goes on.

        Raises:
            RunScriptError: It cannot.
        """
        if self._can is None:
            with translating():
                said = self.api.info()
            self._can = {name for name, word in _KEPT.items() if said.get(word)}
        for name in _KEPT:
            if getattr(limits, name) is not None and name not in self._can:
                problem = (
                    f"the Docker engine cannot keep limits.{name}: its kernel or its cgroups do "
                    "not let it (see `docker info`)"
                )
                raise RunScriptError(problem)

    def image(self, name: str, pull: str, stop: Event) -> Image:
        """Return an image, pulled if that is the policy.

        Raises:
            RunScriptError: It is not there, or cannot be pulled.
        """
        found = None if pull == "always" else self._image(name)
        if found is None and pull == "never":
            problem = f"there is no image {name} in the Docker engine, and it is not to be pulled"
            raise RunScriptError(problem)
        if found is None:
            _pull(name, Patience(PULL_WITHIN, stop))
            found = self._image(name)
        if found is None:
            problem = f"the image {name} was pulled, but is not there"
            raise RunScriptError(problem)
        return found

    def _image(self, name: str) -> Image | None:
        from docker.errors import ImageNotFound  # noqa: PLC0415 - of an extra

        try:
            with translating(ImageNotFound):
                found = self.api.inspect_image(name)
        except ImageNotFound:
            return None
        last = name.rpartition("/")[2]
        repository = name.removesuffix(last) + last.partition("@")[0].partition(":")[0]
        digests: list[str] = found.get("RepoDigests") or []
        same = (each for each in digests if each.startswith(f"{repository}@"))
        return Image(found["Id"], next(same, found["Id"]))

    def mount(self, volume: Volume) -> dict[str, Any]:
        """Return what tells the engine of a volume."""
        from docker.utils import version_lt  # noqa: PLC0415 - of an extra

        options: dict[str, Any] = {}
        if volume.read_only and version_lt(self.api.api_version, _RECURSIVE):
            # what is mounted below could be written to there, so it is left out
            options["NonRecursive"] = True
        return {
            "Type": "bind",
            "Source": str(volume.source),
            "Target": volume.target,
            "ReadOnly": volume.read_only,
            "BindOptions": options,
        }

    def has_ended(self, container: str) -> bool:
        """Tell whether a container has ended, within a second.

        Raises:
            RunScriptError: The engine has not answered for long.
        """
        import requests  # noqa: PLC0415 - comes with docker-py

        self._wait_for_it()
        try:
            self.api.wait(container, timeout=1)
        except (requests.ConnectionError, requests.Timeout):
            return False
        return True

    def ran_out_of_memory(self, container: str, code: int) -> bool:
        """Tell whether the kernel killed something of an ended container for its memory.

        The engine may hear of that after the end, and its state of the container may never say so
        then; so what it hears in the next three seconds counts, if the container was killed. It
        may also lose what the kernel told it (issue 8893 of containerd), and the answer is no.

        Args:
            container: One that has ended.
            code: With what.
        """
        if self.api.inspect_container(container)["State"]["OOMKilled"]:
            return True
        return code == _KILLED and self._hears_of_memory(container)

    def _hears_of_memory(self, container: str) -> bool:
        import requests  # noqa: PLC0415 - comes with docker-py

        api = self.api
        asked = {
            "filters": json.dumps({"container": [container], "event": ["oom"]}),
            "since": "1",  # what it heard before comes first
        }
        # as `events` does, which would wait without end
        url = f"{api.base_url}/v{api.api_version}/events"
        try:
            with api.get(url, params=asked, stream=True, timeout=_HEARD_WITHIN) as answer:
                if answer.ok:
                    return any(answer.iter_lines())
                # one that a proxy guards; what the command did is no worse for that
                _log.warning("The Docker engine does not tell its events: %s", answer.status_code)
        except (requests.ConnectionError, requests.Timeout):
            pass  # it heard nothing in that time
        return False

    def _wait_for_it(self) -> None:
        end = monotonic() + ANSWERS_WITHIN
        while True:
            try:
                return _check_listens(self._url)
            except RunScriptError:
                if monotonic() > end:
                    raise
            Event().wait(_LOOK_EVERY)

    @contextmanager
    def attached(self, container: str) -> Generator[Iterator[tuple[int, bytes]]]:
        """Give what a container will write, piece by piece, with the number of the stream."""
        # of an extra, and without types
        from docker.utils.socket import (  # noqa: PLC0415
            frames_iter,  # pyright: ignore[reportUnknownVariableType]
        )

        # as `attach` does, which leaves the connection open
        connection = self.api.attach_socket(container, {"stdout": 1, "stderr": 1, "stream": 1})
        try:
            yield frames_iter(connection, tty=False)
        finally:
            getattr(connection, "_response", connection).close()
            connection.close()

    def remove(self, container: str) -> None:
        """Remove a container, whatever it does; one that is gone is no error.

        Raises:
            RunScriptError: The engine says no; `tidy` tries it again.
        """
        from docker.errors import APIError, NotFound  # noqa: PLC0415 - of an extra

        self._left.add(container)
        _check_listens(self._url)
        try:
            with translating(APIError):
                self.api.remove_container(container, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if "already in progress" not in str(error):
                raise RunScriptError(_text(error)) from error
        self._left.discard(container)

    def tidy(self) -> None:
        """Remove what could not be removed before.

        Raises:
            RunScriptError: It still cannot be.
        """
        for each in list(self._left):
            self.remove(each)

    def close(self) -> None:
        """Use it no longer."""
        self.api.close()
        self._hold.remove()


def _pull(name: str, patience: Patience) -> None:
    # in a process of its own, for a registry that says nothing is waited for without end
    process = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-P", str(_PULL), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = output_of(process, patience)
    except GivenUpError as error:
        problem = f"the image {name} was not pulled: {error}"
        raise RunScriptError(problem) from None
    if process.returncode != 0:
        problem = f"the image {name} cannot be pulled ({_said(errors)})"
        raise RunScriptError(problem)


@contextmanager
def translating(*but: type[Exception]) -> Generator[None]:
    """Turn the errors of docker-py into ours, but for some.

    Raises:
        RunScriptError: Whatever it was.
    """
    import requests  # noqa: PLC0415 - comes with docker-py
    from docker.errors import DockerException  # noqa: PLC0415 - of an extra

    try:
        yield
    except but:
        raise
    except (DockerException, requests.RequestException) as error:
        raise RunScriptError(_text(error)) from error


def _check_listens(url: str) -> None:
    """Return if somebody listens at the socket of an engine: docker-py leaves it open if nobody."""
    if not url.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(ANSWERS_WITHIN)
        try:
            tried.connect(url.removeprefix("unix://"))
        except OSError as error:
            raise _no_engine(f"{url}: {error.strerror or error}") from error


def _no_engine(why: str) -> RunScriptError:
    problem = (
        f"no Docker engine answers: start one, or set DOCKER_HOST where the worker runs ({why})"
    )
    return RunScriptError(problem)


def _text(error: Exception) -> str:
    return _said(getattr(error, "explanation", None) or str(error))


def _said(text: object) -> str:
    short = " ".join(str(text).split())[:_SHOWN].rstrip(".")
    return f"the Docker engine says: {short}"


# Any: the module is not there for everybody, and has no types
def _docker() -> Any:
    """Return docker-py.

    Raises:
        ImportError: It is not installed.
    """
    import docker  # noqa: PLC0415 - of an extra

    return docker
