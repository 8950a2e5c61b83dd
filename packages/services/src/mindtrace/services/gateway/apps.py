"""`Apps`: the apps of a gateway, ready to be forwarded to, and always as they are kept."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from pydantic import AnyHttpUrl

from mindtrace.core.log import get_logger
from mindtrace.services.gateway.errors import RegistrationsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mindtrace.services.gateway.store import AppStore
    from mindtrace.services.gateway.types import AppConfig

_log = get_logger(__name__)


class Origin(NamedTuple):
    """Where connections go."""

    secure: bool
    host: str
    port: int


class App(NamedTuple):
    """An app, in the form that forwarding needs.

    Attributes:
        name: Its name.
        origin: Where it is.
        own_origin: The same as browsers write it.
        host: Its `Host` header.
        prefix: What the paths of its requests begin with.
        forward_auth: Whether it is told the caller's `Authorization`.
        authorization: What it is told instead, if anything.
        timeout: Seconds that it may be silent.
    """

    name: str
    origin: Origin
    own_origin: bytes
    host: bytes
    prefix: bytes
    forward_auth: bool
    authorization: bytes | None
    timeout: float


def app_of(config: AppConfig, token: str | None = None) -> App:
    """Return an app in the form that forwarding needs.

    Args:
        config: Its registration.
        token: What the gateway shows to it, unless it is told what the caller shows.
    """
    url = AnyHttpUrl(config.url)
    secure = url.scheme == "https"
    standard = 443 if secure else 80
    host, port = url.host or "localhost", url.port or standard
    shown = host if port == standard else f"{host}:{port}"
    return App(
        config.name,
        Origin(secure, host.removeprefix("[").removesuffix("]"), port),
        f"{url.scheme}://{shown}".encode("ascii"),
        shown.encode("ascii"),
        (url.path or "").rstrip("/").encode("ascii"),
        config.forward_auth,
        f"Bearer {token}".encode("ascii") if token and not config.forward_auth else None,
        config.timeout,
    )


class Apps:
    """The apps of a gateway. What another process of the gateway changes is seen at once.

    Args:
        store: Where they are kept.
        token_for: Returns what the gateway shows to an app, if anything.
    """

    def __init__(self, store: AppStore, token_for: Callable[[AppConfig], str | None]) -> None:
        self._store = store
        self._token_for = token_for
        self._stamp: object = None
        self._apps: Mapping[str, App] = {}
        self._mutex = threading.Lock()

    def begin(self, owner: str, *, empty: bool) -> None:
        """Read them for the first time; the arguments are those of `AppStore.begin`.

        Raises:
            RegistrationsError: They cannot be read.
        """
        self._store.begin(owner, empty=empty)
        self.load()

    def load(self) -> None:
        """Read them.

        Raises:
            RegistrationsError: They cannot be read.
        """
        with self._mutex:
            stamp = self._store.stamp()  # before reading: a change after it is seen later
            self._apps = {
                each.name: app_of(each, self._token_for(each)) for each in self._store.read()
            }
            self._stamp = stamp

    def get(self, name: str) -> App | None:
        """Return the app of that name."""
        self._refresh()
        return self._apps.get(name)

    def names(self) -> list[str]:
        """Return the names of all, sorted."""
        self._refresh()
        return sorted(self._apps)

    def put(self, config: AppConfig) -> None:
        """Add an app; it replaces one of the same name."""
        self._store.put(config)
        self.load()

    def remove(self, name: str) -> bool:
        """Remove an app, and tell whether there was one. What is under way with it goes on."""
        found = self._store.remove(name)
        self.load()
        return found

    def _refresh(self) -> None:
        if self._store.stamp() == self._stamp:
            return
        try:
            self.load()
        except RegistrationsError:
            _log.exception("The gateway goes on with the apps that it knew")
            self._stamp = self._store.stamp()
