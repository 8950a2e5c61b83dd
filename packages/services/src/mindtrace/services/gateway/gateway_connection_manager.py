"""`GatewayConnectionManager`: what the clients of all gateways have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindtrace.services.connection_manager import ConnectionManager
from mindtrace.services.endpoints import Endpoint
from mindtrace.services.gateway.proxy_connection_manager import ProxyConnectionManager
from mindtrace.services.gateway.types import (
    AppConfig,
    AppReference,
    RegisterAppTaskSchema,
    RegisteredAppsTaskSchema,
    UnregisterAppTaskSchema,
)
from mindtrace.services.generation import checked_input

if TYPE_CHECKING:
    from pydantic import HttpUrl


def _nothing() -> None:
    pass


_REGISTER = Endpoint("/register_app", "register_app", _nothing, RegisterAppTaskSchema)
_UNREGISTER = Endpoint("/unregister_app", "unregister_app", _nothing, UnregisterAppTaskSchema)
_LIST = Endpoint(
    "/registered_apps", "registered_apps", _nothing, RegisteredAppsTaskSchema, repeatable=True
)


class GatewayConnectionManager(ConnectionManager):
    """A client of a gateway: beside the methods of its endpoints, it has the apps as attributes.

    An app that is registered here together with a connection manager becomes an attribute of its
    name: `gateway.echo.echo(message="hello")` goes through the gateway.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._proxies: dict[str, ProxyConnectionManager] = {}
        super().__init__(*args, **kwargs)

    def register_app(
        self,
        name: str | AppConfig,
        url: str | HttpUrl | None = None,
        connection_manager: ConnectionManager | None = None,
        **options: Any,
    ) -> None:
        """Let the gateway pass what comes to `/<name>/...` on to an app; see `AppConfig`.

        Args:
            name: The name of the app, or all of its registration. An app of that name is replaced.
            url: Where it is.
            connection_manager: A client of it. An attribute of this client, called as the app, then
                has the same methods, which go through the gateway.
            options: The other fields of `AppConfig`: `forward_auth`, `timeout`.

        Raises:
            pydantic.ValidationError: The registration is invalid.
            RequestInvalidError: The gateway has something of that name itself.
            ValueError: This client has an attribute of that name already.
        """
        config = self._config_of(name, url, connection_manager, options)
        self.call(_REGISTER, config)
        self._attach(config, connection_manager)

    async def aregister_app(
        self,
        name: str | AppConfig,
        url: str | HttpUrl | None = None,
        connection_manager: ConnectionManager | None = None,
        **options: Any,
    ) -> None:
        """Do what `register_app` does."""
        config = self._config_of(name, url, connection_manager, options)
        await self.acall(_REGISTER, config)
        if connection_manager is not None:
            await self._adetach(config.name)
        self._attach(config, connection_manager)

    def unregister_app(self, name: str) -> None:
        """Let the gateway pass nothing on to an app any more; what is under way is finished.

        Raises:
            ServiceError: There is none of that name; with the status 404.
        """
        self.call(_UNREGISTER, AppReference(name=name))
        self._detach(name)

    async def aunregister_app(self, name: str) -> None:
        """Do what `unregister_app` does."""
        await self.acall(_UNREGISTER, AppReference(name=name))
        await self._adetach(name)

    @property
    def registered_apps(self) -> list[str]:
        """The names of the apps that are attributes of this client; `list_apps` has all."""
        return list(self._proxies)

    def list_apps(self) -> list[str]:
        """Return the names of all apps of the gateway, whoever registered them, sorted."""
        found: list[str] = self.call(_LIST).registered_apps
        return found

    async def alist_apps(self) -> list[str]:
        """Do what `list_apps` does."""
        found: list[str] = (await self.acall(_LIST)).registered_apps
        return found

    aregistered_apps = alist_apps

    def close(self) -> None:
        """Close the connections, those of the apps as well."""
        super().close()
        for each in list(self._proxies.values()):
            each.close()

    async def aclose(self) -> None:
        """Close the connections, those of this event loop and of the apps as well."""
        await super().aclose()
        for each in list(self._proxies.values()):
            await each.aclose()

    # Any: what an app's client can do depends on the app
    def __getattr__(self, name: str) -> Any:
        found = vars(self).get("_proxies", {}).get(name)
        if found is None:
            message = (
                f"{type(self).__name__} has no attribute {name!r}, and no app of that name was "
                "registered here with a connection manager"
            )
            raise AttributeError(message, name=name, obj=self)
        return found

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._proxies]

    def _config_of(
        self,
        name: str | AppConfig,
        url: str | HttpUrl | None,
        manager: ConnectionManager | None,
        options: dict[str, Any],
    ) -> AppConfig:
        if isinstance(name, AppConfig):
            if url is not None or options:
                message = "give either one AppConfig or the fields of one, not both"
                raise ValueError(message)
            config = name
        else:
            values = {"name": name, **({} if url is None else {"url": str(url)}), **options}
            if unknown := set(values) - set(AppConfig.model_fields):
                message = f"register_app() got unexpected keyword arguments: {sorted(unknown)}"
                raise TypeError(message)
            found = checked_input(AppConfig, values)
            assert isinstance(found, AppConfig)
            config = found
        taken = hasattr(type(self), config.name) or config.name in vars(self)
        if manager is not None and taken:
            message = (
                f"clients of a gateway have something else called {config.name!r}; choose another "
                "name, or register the app without a connection manager"
            )
            raise ValueError(message)
        return config

    def _attach(self, config: AppConfig, manager: ConnectionManager | None) -> None:
        if manager is None:
            return
        self._detach(config.name)
        self._proxies[config.name] = ProxyConnectionManager(
            self.url,
            config.name,
            manager,
            silence=config.timeout,
            tokens=self._token_finder(),
        )

    def _detach(self, name: str) -> None:
        found = self._proxies.pop(name, None)
        if found is not None:
            found.close()

    async def _adetach(self, name: str) -> None:
        found = self._proxies.pop(name, None)
        if found is not None:
            await found.aclose()
