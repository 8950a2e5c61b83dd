"""`ProxyConnectionManager`: a client of a service that goes through a gateway."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from pydantic import HttpUrl

from mindtrace.core.clock import SystemClock
from mindtrace.services.connection_manager import ConnectionManager
from mindtrace.services.errors import (
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from mindtrace.services.gateway.errors import SILENT, UNAVAILABLE
from mindtrace.services.gateway.types import SILENCE
from mindtrace.services.types import ServerStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_proxies: WeakKeyDictionary[type[ConnectionManager], type[ProxyConnectionManager]] = (
    WeakKeyDictionary()
)


class ProxyConnectionManager(ConnectionManager):
    """A client with the methods of another one, whose calls go through a gateway.

    It is an object of the class of the other client, too. What the other client was given beside
    its URL, in an `__init__` of its own, is shared.

    A call fails as it does without the gateway: with `ServiceUnavailableError` if the app is away,
    with `ServiceTimeoutError` if it is silent for longer than the gateway waits, and with the app's
    own error otherwise.

    Args:
        gateway_url: Where the gateway is.
        app_name: The name of the app there.
        original_cm: A client of the app. It is not called, and stays the caller's.
        silence: Seconds that the gateway lets the app be silent.
        tokens: Returns what may be shown to the gateway; else the settings say it.

    Raises:
        TypeError: The original is no `ConnectionManager`.
    """

    if TYPE_CHECKING:
        # Any: its methods are those of another class
        def __getattr__(self, name: str) -> Any: ...

    def __new__(
        cls,
        gateway_url: str | HttpUrl,
        app_name: str,
        original_cm: ConnectionManager,
        *,
        silence: float = SILENCE,
        tokens: Callable[[], list[str]] | None = None,
    ) -> Self:
        """Return an object of a class that is also derived from that of the original."""
        del gateway_url, app_name, silence, tokens
        if not isinstance(original_cm, ConnectionManager):  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"expected the connection manager of a service, found {original_cm!r}"
            raise TypeError(message)
        made: Self = object.__new__(_class_of(cls, type(original_cm)))
        return made

    def __init__(
        self,
        gateway_url: str | HttpUrl,
        app_name: str,
        original_cm: ConnectionManager,
        *,
        silence: float = SILENCE,
        tokens: Callable[[], list[str]] | None = None,
    ) -> None:
        # not super(): the original's class may want other arguments
        ConnectionManager.__init__(self, gateway_url)
        self.gateway_url = str(self._url).rstrip("/")
        self.app_name = app_name
        self.original_cm = original_cm
        self._silence = silence
        self._tokens_of_gateway = tokens
        self._url = HttpUrl(f"{self.gateway_url}/{app_name}/")
        for name, value in vars(original_cm).items():
            vars(self).setdefault(name, value)

    def _token_finder(self) -> Callable[[], list[str]]:
        """Return what finds the tokens that calls may show: those for the gateway."""
        return self._tokens_of_gateway or super()._token_finder()

    def call(self, *args: Any, **options: Any) -> Any:
        """Call an endpoint of the app."""
        try:
            return super().call(*args, **options)
        except ServiceError as error:
            raise self._as_without(error) from error

    async def acall(self, *args: Any, **options: Any) -> Any:
        """Call an endpoint of the app from an event loop."""
        try:
            return await super().acall(*args, **options)
        except ServiceError as error:
            raise self._as_without(error) from error

    def _as_without(self, error: ServiceError) -> Exception:
        """Return the error that a client without a gateway would raise."""
        if error.remote_type == UNAVAILABLE:
            return ServiceUnavailableError(error.url, error.remote_message)
        if error.remote_type == SILENT:
            return ServiceTimeoutError(error.url, self._silence)
        return error

    def _wait_until_gone(self, timeout: float) -> None:
        """Return when the gateway does not reach the app any more; its own port says nothing."""
        end, clock = monotonic() + timeout, SystemClock()
        while self.status(timeout=timeout).status is not ServerStatus.DOWN:
            if monotonic() > end:
                raise ServiceTimeoutError(str(self._url), timeout)
            clock.sleep(0.02)


def _class_of(proxy: type[ProxyConnectionManager], original: type[ConnectionManager]) -> type[Any]:
    if issubclass(original, proxy):
        return original  # it goes through a gateway itself, which stands behind another one
    found = _proxies.get(original)
    if found is None:
        bases = (proxy, original)
        members: dict[str, Any] = {"__module__": proxy.__module__, "__doc__": proxy.__doc__}
        found = _proxies[original] = type(proxy.__name__, bases, members)
    return found
