"""Where the worker types are kept: a folder of JSON documents, or a bucket of an object store."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from mindtrace.cluster.core.names import checked_name
from mindtrace.cluster.core.types import ProxyWorker
from mindtrace.cluster.errors import RegistryUnavailableError, WorkerTypeNotFoundError


class WorkerRegistry(Protocol):
    """Keeps worker types by name. Thread-safe.

    Raises:
        RegistryUnavailableError: from every method, when it cannot be reached or written.
    """

    address: str
    """Where it is, without credentials."""

    def save(self, name: str, worker: ProxyWorker) -> None:
        """Keep a worker type, in place of an earlier one of that name."""
        ...

    def load(self, name: str) -> ProxyWorker:
        """Return a worker type.

        Raises:
            WorkerTypeNotFoundError: nobody registered it.
        """
        ...

    def names(self) -> list[str]:
        """Return the names of all worker types."""
        ...

    def remove(self, name: str) -> None:
        """Forget a worker type; one that is not there is none of its business."""
        ...


class FolderRegistry:
    """Worker types as `<name>.json` in a folder; see `WorkerRegistry`."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.address = str(self._folder)

    def save(self, name: str, worker: ProxyWorker) -> None:
        """Keep a worker type; whoever reads meanwhile finds the old one or the new one whole."""
        path = self._path(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".new")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(worker.model_dump_json(indent=2))
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise RegistryUnavailableError(self.address, str(error)) from error

    def load(self, name: str) -> ProxyWorker:
        """Return a worker type."""
        try:
            text = self._path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise WorkerTypeNotFoundError(name, self.names()) from None
        except OSError as error:
            raise RegistryUnavailableError(self.address, str(error)) from error
        return parsed(text, self.address, name)

    def names(self) -> list[str]:
        """Return the names of all worker types."""
        try:
            return sorted(each.stem for each in self._folder.glob("*.json"))
        except OSError as error:
            raise RegistryUnavailableError(self.address, str(error)) from error

    def remove(self, name: str) -> None:
        """Forget a worker type."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise RegistryUnavailableError(self.address, str(error)) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{checked_name(name)}.json"


def parsed(text: str | bytes, address: str, name: str) -> ProxyWorker:
    """Return the worker type that a document describes."""
    try:
        return ProxyWorker.model_validate_json(text)
    except ValidationError as error:
        problem = f"the document of {name!r} is damaged ({error.error_count()} errors)"
        raise RegistryUnavailableError(address, problem) from error


def open_registry(url: str) -> WorkerRegistry:
    """Return the registry of a URL: `file:///folder` or `s3://host:port/bucket`.

    The keys of an object store are those of the settings, or stand in the URL.

    Raises:
        ValueError: the scheme is not known.
        ImportError: the package that it takes is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file":
        return FolderRegistry(rest)
    if separator and scheme in {"s3", "s3s"}:
        from mindtrace.cluster.ports.s3_registry import S3Registry  # noqa: PLC0415 - as needed

        return S3Registry.from_url(url)
    message = f"no registry for the URL scheme {scheme if separator else ''!r}: file, s3, s3s"
    raise ValueError(message)
