"""`Engine`: the Docker engine of a worker, and the containers that killed workers left in it."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.git.lock import Hold
from mindtrace.cluster.git.program import Patience
from mindtrace.core.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

LABEL = "mindtrace.run_script"
"""Of our containers; its value is the file that their worker holds."""

ANSWERS_WITHIN = 60
"""Seconds that the engine may take for one answer."""

CONNECTIONS = 64

STDOUT = 1
"""The number of the one stream; the other is 2."""

_HELD_WITHIN = 60.0
_NOT_FOUND = 404
_log = get_logger(__name__)


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
        _check_listens(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
        with translating():
            self.api: Any = (
                _docker().from_env(timeout=ANSWERS_WITHIN, max_pool_size=CONNECTIONS).api
            )
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

    def image(self, name: str, pull: str) -> str:
        """Return the digest of an image, pulled if that is the policy.

        Raises:
            RunScriptError: It is not there, or cannot be pulled.
        """
        if pull != "always":
            found = self._image(name)
            if found is not None:
                return found
            if pull == "never":
                raise _no_image(name, "it is not to be pulled")
        try:
            with translating():
                # a name without a tag would mean all of them
                tagged = ":" in name.rpartition("/")[2] or "@" in name
                self.api.pull(name if tagged else f"{name}:latest")
        except RunScriptError as error:
            raise _no_image(name, f"it cannot be pulled ({error.problem})") from error
        found = self._image(name)
        if found is None:
            raise _no_image(name, "what was pulled is not it")
        return found

    def _image(self, name: str) -> str | None:
        from docker.errors import ImageNotFound  # noqa: PLC0415 - of an extra

        try:
            with translating(ImageNotFound):
                digest: str = self.api.inspect_image(name)["Id"]
                return digest
        except ImageNotFound:
            return None

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
        """Remove a container, whatever it does; one that is gone is no error."""
        from docker.errors import APIError, NotFound  # noqa: PLC0415 - of an extra

        try:
            with translating(APIError):
                self.api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if "already in progress" not in str(error):
                raise RunScriptError(_text(error)) from error

    def close(self) -> None:
        """Use it no longer."""
        self.api.close()
        self._hold.remove()


def _no_image(name: str, problem: str) -> RunScriptError:
    return RunScriptError(f"there is no image {name} in the Docker engine, and {problem}")


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
    said = getattr(error, "explanation", None) or str(error)
    text = " ".join(str(said).split())[:500].rstrip(".")
    return f"the Docker engine says: {text}"


# Any: the module is not there for everybody, and has no types
def _docker() -> Any:
    """Return docker-py.

    Raises:
        ImportError: It is not installed.
    """
    import docker  # noqa: PLC0415 - of an extra

    return docker
