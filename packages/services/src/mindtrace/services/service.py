"""`Service`: a class with typed endpoints that becomes a web service, and makes its own client."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID, uuid4

from mindtrace.core.base import Mindtrace
from mindtrace.services.endpoints import Endpoint, declared, make_endpoint
from mindtrace.services.types import (
    ClassNameSchema,
    EndpointsSchema,
    Heartbeat,
    HeartbeatSchema,
    PIDFileSchema,
    ServerIDSchema,
    ServerStatus,
    ShutdownSchema,
    StatusSchema,
)
from mindtrace.services.urls import build_url, default_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from fastapi import FastAPI
    from pydantic import HttpUrl

    from mindtrace.core.settings import Config
    from mindtrace.core.task import TaskSchema
    from mindtrace.services.connection_manager import ConnectionManager
    from mindtrace.services.keys import Key
    from mindtrace.services.settings import Scope

    Manager = TypeVar("Manager", bound=type[ConnectionManager])

STANDARD = frozenset(
    {"endpoints", "status", "heartbeat", "server_id", "class_name", "pid_file", "shutdown"}
)
"""The names of the endpoints that every service has; a subclass may replace them."""


class Service(Mindtrace):
    """A class with typed endpoints: `launch` it, `connect` to it, call it.

    Endpoints are declared with the decorator `endpoint`, or added in `__init__` with
    `add_endpoint`. Their input and output are Pydantic models, checked on both sides. A plain
    function runs in a pool of threads, so many calls may be in it at the same time; an `async`
    one runs on the event loop and must not block.

    `/docs` shows the endpoints to a browser, without internet, and `/openapi.json` to programs.
    Where a token is set, both are closed without it. A browser does not show one by itself: let an
    extension or a proxy of yours add the header `Authorization`, or serve the class on your own
    machine, where it needs no token.

    Clients are made from an object that does not serve (`live_service=False`), so `__init__` must
    do without arguments, and should leave what is costly to `startup`.

    Args:
        url: Where it is served; else `host` and `port` say so, else the settings.
        host: The name or address to listen on.
        port: The port to listen on.
        summary: A sentence about it, for the OpenAPI page.
        description: More about it, for the OpenAPI page; Markdown.
        version: What the OpenAPI page calls this version.
        live_service: Whether it is to be served, rather than asked about its endpoints.
        pid_file: The file with the number of the process that serves it.
        kwargs: Left to the next class in line.
    """

    manager_class: ClassVar[type[ConnectionManager] | None] = None
    """The client that was registered, instead of a generated one."""

    def __init__(  # noqa: PLR0913 - keywords, each with a default
        self,
        *,
        url: str | HttpUrl | None = None,
        host: str | None = None,
        port: int | None = None,
        summary: str | None = None,
        description: str | None = None,
        version: str = "1.0.0",
        live_service: bool = True,
        pid_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.live_service = live_service
        self.url = build_url(url, host, port, default_url(type(self).__name__, self.config))
        self.summary = summary
        self.description = description
        self.version = version
        self.pid_file = pid_file
        self.id: UUID = uuid4()
        self.status = ServerStatus.LAUNCHING if live_service else ServerStatus.DOWN
        self.insecure = False
        """Whether other machines are let in though no token is set; `launch` says it."""
        self.takes_any_port = False
        """Whether its port is just any that was free, so that nothing that was left there by
        another service is meant for it; `launch` says it."""
        self.startup_error: Exception | None = None
        """What `startup` raised."""
        self._stop_serving: Callable[[], None] = _end_process
        self._app: FastAPI | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._add_standard_endpoints()
        for each in declared(self):
            self._add(each)

    # endpoints

    @property
    def endpoints(self) -> dict[str, TaskSchema]:
        """The schemas of all endpoints, by name."""
        return {each.name: each.schema for each in self._endpoints.values()}

    @property
    def table(self) -> list[Endpoint]:
        """All endpoints."""
        return list(self._endpoints.values())

    @property
    def app(self) -> FastAPI:
        """The ASGI application, guarded as the settings say; made when first asked for."""
        if self._app is None:
            from mindtrace.services.app import build_app  # noqa: PLC0415 - FastAPI is slow to load

            self._app = build_app(self)
        return self._app

    def add_endpoint(  # noqa: PLR0913 - the facts of one row
        self,
        path: str,
        func: Callable[..., Any],
        schema: TaskSchema | None = None,
        *,
        methods: Sequence[str] | None = None,
        scope: Scope = "api",
        repeatable: bool | None = None,
        api_route_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Serve a function at a path, and give clients a method for it.

        Args:
            path: Where: words with slashes between them. `/jobs/list` becomes the client's
                `jobs_list`, `/import` its `import_`.
            func: Takes the input model as its one argument, or nothing; plain or `async`.
            schema: What goes in and comes out; else the annotations of `func` say so.
            methods: The HTTP methods, `["POST"]` if not given. The input of those without a body
                travels in the query string. A client uses the first.
            scope: Where a token is set: `open` to everybody, `api` to holders of a token, `admin`
                to holders of the admin token if there is one; see `Scope`.
            repeatable: Whether a call may be sent again of which a client does not know what
                became; as HTTP has it (`GET` yes, `POST` no) unless said.
            api_route_kwargs: What else FastAPI is told about the route.

        Raises:
            ValueError: The path is taken, or its name is that of something that every client has,
                or the function does not go with the schema.
        """
        self._add(
            make_endpoint(
                path,
                func,
                schema,
                methods=methods,
                scope=scope,
                repeatable=repeatable,
                options=api_route_kwargs,
            )
        )

    def _add(self, added: Endpoint) -> None:
        self._check_free(added)
        self._endpoints[added.name] = added
        if self._app is not None:
            from mindtrace.services.app import add_route  # noqa: PLC0415 - FastAPI is slow to load

            add_route(self._app, added)

    def _check_free(self, added: Endpoint) -> None:
        owner, name = type(self).__name__, added.name
        there = self._endpoints.get(name)
        if there is not None and (name not in STANDARD or there.path != added.path):
            message = f"{owner} has an endpoint {name!r} already, at {there.path}"
            raise ValueError(message)
        if name in RESERVED or f"a{name}" in RESERVED:
            message = f"every client has something called {name!r}; choose another path"
            raise ValueError(message)
        if added.path.startswith(DOCUMENTATION):
            message = f"{added.path} is where the documentation is; choose another path"
            raise ValueError(message)
        for other in (f"a{name}", name[1:] if name.startswith("a") else ""):
            if other in self._endpoints:
                message = (
                    f"a client of {owner} would have two methods {max(name, other, key=len)!r}: "
                    f"{name!r} and {other!r} with an `a` before it; choose another path"
                )
                raise ValueError(message)

    def _add_standard_endpoints(self) -> None:
        health = {"methods": ["POST", "GET"], "scope": "open", "repeatable": True}
        known = {"repeatable": True}
        rows: list[tuple[str, Callable[..., Any], TaskSchema, dict[str, Any]]] = [
            ("endpoints", self.endpoints_func, EndpointsSchema, known),
            ("status", self.status_func, StatusSchema, health),
            ("heartbeat", self.heartbeat_func, HeartbeatSchema, health),
            ("server_id", self.server_id_func, ServerIDSchema, known),
            ("class_name", self.class_name_func, ClassNameSchema, known),
            ("pid_file", self.pid_file_func, PIDFileSchema, known),
            ("shutdown", self.shutdown_func, ShutdownSchema, {}),
        ]
        for name, function, schema, said in rows:
            self._endpoints[name] = make_endpoint(name, function, schema, **said)

    async def endpoints_func(self) -> dict[str, Any]:
        """Return the names of all endpoints."""
        return {"endpoints": list(self._endpoints)}

    async def status_func(self) -> dict[str, Any]:
        """Return what the service is doing."""
        return {"status": self.status}

    async def heartbeat_func(self) -> dict[str, Any]:
        """Return a sign of life."""
        return {"heartbeat": self.heartbeat()}

    async def server_id_func(self) -> dict[str, Any]:
        """Return which running service this is."""
        return {"server_id": self.id}

    async def class_name_func(self) -> dict[str, Any]:
        """Return the name of the class."""
        return {"class_name": type(self).__name__}

    async def pid_file_func(self) -> dict[str, Any]:
        """Return the file with the number of the process."""
        return {"pid_file": self.pid_file}

    async def shutdown_func(self) -> dict[str, Any]:
        """Stop serving; requests under way are finished first."""
        self.status = ServerStatus.STOPPING
        self._stop_serving()
        return {"shutdown": True}

    def on_shutdown(self, stop: Callable[[], None]) -> None:
        """Say how whoever serves this object is told to stop; for servers."""
        self._stop_serving = stop

    def place(self, url: str) -> None:
        """Say where this object is served; for servers."""
        self.url = build_url(url, None, None, self.url)

    # for subclasses

    def heartbeat(self) -> Heartbeat:
        """Return a sign of life; a subclass may put more into `details`.

        It runs on the event loop and must not block.
        """
        return Heartbeat(self.status, self.id, "Heartbeat check successful.")

    def startup(self) -> Awaitable[None] | None:
        """Prepare, before the first request; plain or `async`. An exception fails the launch."""

    def shutdown_cleanup(self) -> Awaitable[None] | None:
        """Clean up, after the last request; plain or `async`."""

    @classmethod
    def keys_in(cls, config: Config) -> list[Key]:
        """Return the tokens that the settings give, and what each opens; a subclass may add some.

        Without any, nobody needs a token, and other machines are not let in.
        """
        from mindtrace.services.keys import keys_of  # noqa: PLC0415 - settings are slow to load
        from mindtrace.services.settings import services_settings  # noqa: PLC0415 - likewise

        return keys_of(services_settings(config))

    @property
    def keys(self) -> list[Key]:
        """The tokens that open this service, and what each opens."""
        return self.keys_in(self.config)

    def limits_body(self, path: str) -> bool:
        """Tell whether the limit for the size of a body holds for a path."""
        del path
        return True

    # launching and connecting

    @classmethod
    def default_url(cls) -> HttpUrl:
        """Return where it is served unless said otherwise.

        The variable `MINDTRACE_DEFAULT_HOST_URLS__ECHO_SERVICE` says it for `EchoService`;
        `http://localhost:8000/` if there is none.
        """
        return default_url(cls.__name__, cls.config)

    @classmethod
    def build_url(
        cls, url: str | HttpUrl | None = None, host: str | None = None, port: int | None = None
    ) -> HttpUrl:
        """Return where it is served: `url`, else `host` and `port`, else the default.

        Raises:
            ValueError: Both forms are given, or they make no URL.
        """
        return build_url(url, host, port, cls.default_url())

    # Any: what the returned client can do depends on the class; see `mindtrace.services.stubs`.
    @classmethod
    def launch(  # noqa: PLR0913 - keywords, each with a default
        cls,
        *,
        url: str | HttpUrl | None = None,
        host: str | None = None,
        port: int | None = None,
        wait_for_launch: bool = True,
        timeout: float = 60.0,
        block: bool = False,
        num_workers: int = 1,
        progress_bar: bool = True,
        insecure: bool = False,
        detach: bool = False,
        **init_params: Any,
    ) -> Any:
        """Serve it in a process of its own, and return a client.

        The class may be in a module, in the running script, in a notebook or in a function. The
        process ends when this one does, however it ends, or earlier with `shutdown()`. What it
        writes appears on this process's stderr.

        Args:
            url: Where, as in `build_url`; port 0 is any free one.
            host: The name or address to listen on.
            port: The port to listen on.
            wait_for_launch: Return when it is ready. Else at once: then `client.wait_for_launch()`
                waits, and calls before that may find nobody.
            timeout: Seconds it may take to be ready; then it is ended.
            block: Return only when it has ended. Ctrl-C ends it, and is raised.
            num_workers: Processes that share the port. Each has an object of its own, so what one
                keeps the others do not see.
            progress_bar: Show that it is starting, on a terminal.
            insecure: Let other machines in though no token is set.
            detach: Let it live on when this process ends. What it writes goes to a file.
            init_params: Passed to `__init__` in the new process.

        Raises:
            ServiceLaunchError: It did not become ready; with its last lines. Of this kind are
                `ServicePortInUseError` and `InsecureBindError`.
            ValueError: The URL is none.
        """
        from mindtrace.services.launching import Launch, launch  # noqa: PLC0415 - loaded when needed

        target = cls.build_url(url, host, port)
        plan = Launch(
            cls, target, timeout, num_workers, init_params, insecure=insecure, detach=detach
        )
        return launch(plan, wait=wait_for_launch or block, block=block, shows=progress_bar)

    @classmethod
    def connect(cls, url: str | HttpUrl | None = None, timeout: float = 60.0) -> Any:
        """Return a client of a running service.

        Raises:
            ServiceUnavailableError: Nothing answers there.
            ServiceTimeoutError: It did not answer within `timeout` seconds.
            ServiceError: Something answers there, but it is no service.
        """
        manager = cls.client_class()(cls.build_url(url))
        try:
            manager.check(timeout)
        except BaseException:
            manager.close()
            raise
        return manager

    @classmethod
    def status_at_host(
        cls, url: str | HttpUrl | None = None, timeout: float = 60.0
    ) -> ServerStatus:
        """Return what a service is doing; `DOWN` if no service answers."""
        with cls.client_class()(cls.build_url(url)).only_talking() as manager:
            return manager.status(timeout=timeout).status

    @classmethod
    def client_class(cls) -> type[ConnectionManager]:
        """Return the class of its clients: the registered one, or one made from its endpoints."""
        from mindtrace.services.generation import generate_connection_manager  # noqa: PLC0415

        registered = cls.manager_class
        return registered if registered is not None else generate_connection_manager(cls)

    @classmethod
    def client_base(cls) -> type[ConnectionManager]:
        """Return what generated classes of clients are derived from; a subclass may have its own.

        What that class defines is not generated.
        """
        from mindtrace.services.connection_manager import ConnectionManager  # noqa: PLC0415

        return ConnectionManager

    @classmethod
    def register_connection_manager(cls, manager: Manager) -> Manager:
        """Make `connect` and `launch` return a class of yours; usable as a decorator.

        It holds for this class and its subclasses. Derive it from
        `generate_connection_manager(TheService)` to keep the generated methods.
        """
        cls.manager_class = manager
        return manager


def _end_process() -> None:
    """End a process that somebody else's server runs in."""
    os.kill(os.getpid(), signal.SIGTERM)


DOCUMENTATION = ("/docs", "/openapi.json", "/static-offline-docs")
"""How the paths of the documentation begin."""

RESERVED = frozenset(
    {
        "acall",
        "aclose",
        "adopt",
        "call",
        "check",
        "close",
        "end",
        "logger",
        "only_talking",
        "process_id",
        "table",
        "url",
        "wait_for_launch",
        "wait_until_ended",
    }
)
"""What clients have beside the methods of endpoints."""
