"""Where the registrations of a gateway are kept, so that they survive its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ValidationError

from mindtrace.services.gateway.errors import RegistrationsError
from mindtrace.services.gateway.types import AppConfig  # noqa: TC001 - Pydantic reads it
from mindtrace.services.urls import bare_host, port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from pydantic import HttpUrl


class AppStore(Protocol):
    """Keeps registrations; shared by all processes of a gateway. Its methods may be slow.

    `stamp` is the exception: it is asked for each request.
    """

    def begin(self, owner: str, *, empty: bool) -> None:
        """Prepare, before the first request.

        Args:
            owner: The id of the gateway, the same in all its processes.
            empty: Forget what another gateway left.
        """
        ...

    def read(self) -> list[AppConfig]:
        """Return all registrations."""
        ...

    def put(self, config: AppConfig) -> None:
        """Add a registration; it replaces one of the same name."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a registration, and tell whether there was one."""
        ...

    def stamp(self) -> object:
        """Return something that is another one after each change."""
        ...


class Registrations(BaseModel):
    """What is in the file.

    Attributes:
        owner: The id of the gateway that began last.
        apps: Its apps.
    """

    owner: str = ""
    apps: list[AppConfig] = []


class FileStore:
    """Keeps registrations in a JSON file, which is replaced as a whole and never half written.

    Nobody else may read it: the URLs say what there is in a network. If it vanishes while the
    gateway runs, the gateway goes on with what it knew, and writes that at the next change.

    Args:
        path: The file. Beside it is one with `.lock` at its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = Registrations()

    def begin(self, owner: str, *, empty: bool) -> None:
        """Prepare, before the first request.

        Raises:
            RegistrationsError: The file cannot be read.
        """
        with self._locked():
            try:
                found = self._read()
            except RegistrationsError:
                if not empty:
                    raise
                found = Registrations()
            if found.owner == owner:
                return  # another process of the same gateway was here
            kept = [] if empty else found.apps
            if kept or self.path.exists():
                self._write(Registrations(owner=owner, apps=kept))
            self._known = Registrations(owner=owner, apps=kept)

    def read(self) -> list[AppConfig]:
        """Return all registrations.

        Raises:
            RegistrationsError: The file cannot be read.
        """
        return self._read().apps

    def put(self, config: AppConfig) -> None:
        """Add a registration; it replaces one of the same name."""
        self._change(lambda apps: {**apps, config.name: config})

    def remove(self, name: str) -> bool:
        """Remove a registration, and tell whether there was one."""
        found = False

        def without(apps: dict[str, AppConfig]) -> dict[str, AppConfig]:
            nonlocal found
            found = name in apps
            return {each: app for each, app in apps.items() if each != name}

        self._change(without)
        return found

    def stamp(self) -> object:
        """Return something that is another one after each change."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - half the time, and for each request
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _change(self, change: Callable[[dict[str, AppConfig]], dict[str, AppConfig]]) -> None:
        with self._locked():
            found = self._read()
            apps = change({each.name: each for each in found.apps})
            self._write(Registrations(owner=found.owner, apps=list(apps.values())))

    def _read(self) -> Registrations:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return self._known
        except OSError as error:
            raise RegistrationsError(self.path, error.strerror or str(error)) from error
        try:
            self._known = Registrations.model_validate_json(text)
        except ValidationError as error:
            first: Any = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(each) for each in first["loc"])
            problem = f"{place}: {first['msg']}" if place else first["msg"]
            raise RegistrationsError(self.path, problem) from None
        return self._known

    def _write(self, content: Registrations) -> None:
        text = json.dumps(content.model_dump(mode="json"), indent=2).encode()
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with open(temporary, "wb", opener=_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(self.path.parent)
        self._known = content

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other threads and processes from changing the file meanwhile."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.path.with_suffix(".lock")
        with open(lock, "wb", opener=_private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed
            yield


def file_of(folder: Path, url: HttpUrl) -> Path:
    """Return the file of the gateway at a URL."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", bare_host(url))
    return folder / f"{host}_{port_of(url)}.json"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _sync_folder(folder: Path) -> None:
    """Have the replacement survive a loss of power, too."""
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
