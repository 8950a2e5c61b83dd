"""Finding backends: by entry point, by URL, by settings, by another process's arguments.

No backend's library is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints
    from pathlib import Path

    from mindtrace.jobs.client import OrchestratorBackend

GROUP = "mindtrace.jobs.backends"

SCHEMES = {
    "sqlite": "local",
    "memory": "local",
    "redis": "redis",
    "rediss": "redis",
    "redis+sentinel": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
}


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to load, seldom needed

    return entry_points(group=GROUP)


def load_backend(name: str, wanted: str | None = None) -> type[OrchestratorBackend]:
    """Return the client class of a backend.

    Raises:
        ImportError: its package is not installed; the message has the line that installs it.
    """
    if name == "local":
        from mindtrace.jobs.local import LocalClient  # noqa: PLC0415 - loaded on first use

        return LocalClient
    found = [each for each in _entry_points() if each.name == name]
    if not found:
        subject = wanted or "This"
        message = (
            f"{subject} needs the '{name}' backend, which is not installed. "
            f"Install it with: pip install 'mindtrace-jobs[{name}]'"
        )
        raise ImportError(message)
    client: type[OrchestratorBackend] = found[0].load()
    return client


def backend_from_url(url: str) -> OrchestratorBackend:
    """Return a client for a URL: sqlite:///folder, memory://, redis://..., amqp://... and so on.

    `sqlite:///jobs` is the folder `jobs` below the working folder, `sqlite:////srv/jobs` the folder
    `/srv/jobs`; a backend of another package takes the URL as its own `from_url` does.

    Raises:
        ValueError: the scheme is not known.
        ImportError: the backend's package is not installed.
    """
    scheme, separator, _ = url.partition("://")
    name = SCHEMES.get(scheme)
    if not separator or name is None:
        # the schemes of our own backends are listed; those of others are called as the backend is
        others = {point.name for point in _entry_points()} - set(SCHEMES.values())
        known = {*SCHEMES, *others}
        if separator and scheme in known:
            name = scheme
        else:
            # the URL itself may hold a password, so only its scheme is shown
            message = f"no backend for the URL scheme {scheme if separator else ''!r}; known: "
            raise ValueError(message + ", ".join(f"{each}://" for each in sorted(known)))
    return load_backend(name).from_url(url)


def local_folder(url: str) -> str | None:
    """Return the folder of a sqlite URL, None for memory://."""
    scheme, _, path = url.partition("://")
    if scheme == "memory":
        return None
    if not path.startswith("/"):
        message = "a sqlite URL has three slashes before its folder: sqlite:///folder"
        raise ValueError(message)
    folder = unquote(path)[1:]
    if not folder:
        message = "a sqlite URL names a folder: sqlite:///folder"
        raise ValueError(message)
    return folder


def backend_from_settings(folder: str | Path | None = None) -> OrchestratorBackend:
    """Return the client of `MINDTRACE_JOBS__BACKEND_URL`, else a LocalClient (in `folder`)."""
    if folder is None:
        from mindtrace.core import get_config  # noqa: PLC0415 - pydantic-settings is slow to load

        url = get_config().jobs.backend_url
        if url is not None:
            return backend_from_url(url.get_secret_value())
    from mindtrace.jobs.local import LocalClient  # noqa: PLC0415 - loaded on first use

    return LocalClient(folder)


def backend_from_args(args: dict[str, Any]) -> OrchestratorBackend:
    """Return the client that `consumer_backend_args` of another process describes."""
    if not isinstance(args.get("backend"), str):
        message = (
            "backend_args come from backend.consumer_backend_args: {'backend': ..., 'kwargs': ...}"
        )
        raise ValueError(message)  # noqa: TRY004 - a dict of the wrong shape
    return load_backend(args["backend"])(**args.get("kwargs", {}))
