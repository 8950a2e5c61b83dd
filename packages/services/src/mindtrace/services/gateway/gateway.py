"""`Gateway`: a service that passes requests on to others, at one address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindtrace.services.gateway.apps import Apps
from mindtrace.services.gateway.store import AppStore, FileStore, file_of
from mindtrace.services.gateway.types import (
    AppConfig,
    AppReference,
    RegisterAppTaskSchema,
    RegisteredApps,
    RegisteredAppsTaskSchema,
    UnregisterAppTaskSchema,
)
from mindtrace.services.service import DOCUMENTATION, Service
from mindtrace.services.settings import services_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import FastAPI

    from mindtrace.services.connection_manager import ConnectionManager
    from mindtrace.services.endpoints import Endpoint
    from mindtrace.services.gateway.pool import Pool


class Gateway(Service):
    """One address for many services: `/<app>/...` is passed on to the app of that name.

    Any method, path, query, header and body goes through, in both directions as it comes, and the
    app's status and headers come back unchanged; redirects are for the caller. Left out are the
    headers that are about one connection (RFC 9110, 7.6.1), trailers, and what callers say of the
    way here. `Host` is the app's, and `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` tell the
    app how it was asked for. WebSockets are not passed on.

    `Authorization` stays here unless the registration says `forward_auth=True`. The gateway has no
    token of its own for apps: with `forward_auth`, an app judges the caller, not the gateway.

    An app that is not there, or is lost, makes a 502, one that is silent for too long a 504, in the
    form of all errors. An answer of which a part went out already is cut off instead. A caller that
    goes away ends the request at the app, too.

    Registrations are kept in a file for each host and port of gateways, so a gateway that is
    started there again has them; one that was given any free port (0) begins without. All
    processes of a gateway (`num_workers`) share them.

    All apps are one origin to a browser: they can read each other's cookies and pages. Whoever may
    register an app can have the gateway call any address that it reaches.

    A subclass that has `startup` or `shutdown_cleanup` of its own calls those of this class.
    """

    _own: frozenset[str] = frozenset()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._apps: Apps | None = None
        self._pool: Pool | None = None
        self.add_endpoint(
            "/register_app",
            self.register_app,
            RegisterAppTaskSchema,
            scope="admin",
            repeatable=True,
        )
        self.add_endpoint(
            "/unregister_app", self.unregister_app, UnregisterAppTaskSchema, scope="admin"
        )
        self.add_endpoint(
            "/registered_apps", self.registered_apps, RegisteredAppsTaskSchema, repeatable=True
        )

    # endpoints

    def register_app(self, payload: AppConfig) -> None:
        """Pass what comes to `/<name>/...` on to an app. It replaces one of the same name."""
        if payload.name in self._own_names():
            said = f"the gateway itself has something at /{payload.name}; choose another name"
            raise _invalid("name", said)
        self._registered().put(payload)

    def unregister_app(self, payload: AppReference) -> None:
        """Pass nothing on to an app any more; what is under way is finished."""
        if not self._registered().remove(payload.name):
            from fastapi import HTTPException  # noqa: PLC0415 - FastAPI is slow to load

            raise HTTPException(404, f"no app is registered under the name {payload.name!r}")

    def registered_apps(self) -> RegisteredApps:
        """Return the names of all apps."""
        return RegisteredApps(registered_apps=self._registered().names())

    # serving

    def app_store(self) -> AppStore:
        """Return where the registrations are kept; a subclass may have another place."""
        return FileStore(file_of(self.config.dir_paths.root / "gateways", self.url))

    def token_for(self, app: AppConfig) -> str | None:
        """Return the token that the gateway shows to an app, instead of the caller's.

        None unless a subclass knows one. Whoever may call the gateway can do with the app what the
        token opens.
        """
        del app
        return None

    @property
    def app(self) -> FastAPI:
        """The ASGI application; what none of its routes takes is passed on."""
        made = super().app
        if self._pool is None:
            from mindtrace.services.gateway.forwarding import Forwarding  # noqa: PLC0415
            from mindtrace.services.gateway.pool import Pool  # noqa: PLC0415

            self._pool = Pool(services_settings(self.config))
            name = f"mindtrace-{self.id.hex[:12]}"
            router = made.router
            router.default = Forwarding(self._registered(), self._pool, name, router.not_found)
        return made

    def startup(self) -> None:
        """Read the registrations.

        Raises:
            RegistrationsError: They cannot be read.
        """
        self._registered().begin(str(self.id), empty=self.takes_any_port)

    async def shutdown_cleanup(self) -> None:
        """Close the connections to the apps."""
        if self._pool is not None:
            self._pool.close()

    def limits_body(self, path: str) -> bool:
        """Tell whether the limit for the size of a body holds: for the gateway's own endpoints."""
        return path[1:].partition("/")[0] in self._own_names()

    @classmethod
    def client_base(cls) -> type[ConnectionManager]:
        """Return what the classes of clients are derived from."""
        from mindtrace.services.gateway.gateway_connection_manager import (  # noqa: PLC0415
            GatewayConnectionManager,
        )

        return GatewayConnectionManager

    def _check_free(self, added: Endpoint) -> None:
        super()._check_free(added)
        if added.name == "list_apps":
            message = "every client of a gateway has something called 'list_apps' already"
            raise ValueError(message)

    def _add(self, added: Endpoint) -> None:
        super()._add(added)
        self._own = frozenset[str]()  # to be looked up anew

    def _registered(self) -> Apps:
        if self._apps is None:
            self._apps = Apps(self.app_store(), self.token_for)
        return self._apps

    def _own_names(self) -> frozenset[str]:
        """Return the first words of the gateway's own paths."""
        if not self._own:
            routes: Iterable[Any] = self.app.routes
            paths = [*DOCUMENTATION, *(getattr(each, "path", "") for each in routes)]
            self._own = frozenset(each.strip("/").partition("/")[0] for each in paths)
        return self._own


def _invalid(field: str, said: str) -> Exception:
    """Return an error that says that an input is invalid, as a model's own errors are said."""
    from fastapi import HTTPException  # noqa: PLC0415 - FastAPI is slow to load

    detail = [{"type": "value_error", "loc": ["body", field], "msg": said}]
    return HTTPException(422, detail)
