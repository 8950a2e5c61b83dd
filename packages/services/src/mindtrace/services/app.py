"""The ASGI application of a service: a FastAPI route for each row of its table of endpoints."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from inspect import Parameter, Signature, isawaitable
from typing import TYPE_CHECKING, Annotated, Any, cast

import anyio.to_thread
from fastapi import Body, FastAPI, Query
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from mindtrace.core.errors import MindtraceError
from mindtrace.core.log import get_logger
from mindtrace.services.gate import Gate, error_body, text_of
from mindtrace.services.guard import Guard
from mindtrace.services.service import STANDARD
from mindtrace.services.settings import services_settings
from mindtrace.services.types import ServerStatus
from mindtrace.services.urls import bare_host

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request

    from mindtrace.services.endpoints import Endpoint
    from mindtrace.services.service import Service
    from mindtrace.services.settings import Scope


_log = get_logger(__name__)


class Failure(BaseModel):
    """What went wrong."""

    type: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: Failure
    request_id: str


class InvalidAnswer(ErrorAnswer):
    """The body where the input is invalid."""

    detail: list[dict[str, Any]]


_ANSWERS: dict[int | str, dict[str, Any]] = {
    422: {"model": InvalidAnswer, "description": "The input is invalid; nothing was done."},
    "4XX": {"model": ErrorAnswer, "description": "The call was refused."},
    "5XX": {"model": ErrorAnswer, "description": "The service failed."},
}


_WITHOUT_CONTENT = frozenset({204, 205, 304})


def build_app(service: Service) -> FastAPI:
    """Return the application of a service, guarded as the settings say."""
    settings = services_settings(service.config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.threads
        try:
            await _waited(service.startup())
        except Exception as error:
            service.startup_error = error
            raise
        service.status = ServerStatus.AVAILABLE
        try:
            yield
        finally:
            service.status = ServerStatus.STOPPING
            await _waited(service.shutdown_cleanup())

    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title=service.name,
        summary=service.summary,
        description=service.description or "",
        version=service.version,
        lifespan=lifespan,
        # a path is one path: what is looked up for it has to hold for what answers
        redirect_slashes=False,
        # the page would ask its maker's server to judge ours
        swagger_ui_parameters={"validatorUrl": None},
    )
    keys = service.keys
    if keys:
        _tell_of_token(app)
    scopes: dict[str, Scope] = {}
    app.state.scopes = scopes
    for each in service.table:
        add_route(app, each)
    _order_routes(app)
    _answer_errors(app)
    app.add_middleware(
        Gate,
        guard=Guard(settings, bare_host(service.url), scopes, keys=keys, insecure=service.insecure),
        max_body=settings.max_body,
        is_limited=service.limits_body,
        logger=service.logger,
    )
    if settings.allowed_origins:
        from fastapi.middleware.cors import CORSMiddleware  # noqa: PLC0415 - rarely needed

        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id"],
        )
    return app


def _tell_of_token(app: FastAPI) -> None:
    """Say in the OpenAPI page that calls need a token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        made = plain()
        schemes = made.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        made["security"] = [{"token": []}]
        for path, scope in app.state.scopes.items():
            if scope == "open":
                for operation in made["paths"].get(path, {}).values():
                    operation["security"] = []
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI has it done


async def _waited(result: Any) -> None:
    if isawaitable(result):
        await result


def _order_routes(app: FastAPI) -> None:
    """Put first what is asked for most: routes are tried one after the other."""
    app.router.routes.sort(
        key=lambda each: (not isinstance(each, APIRoute), getattr(each, "name", "") in STANDARD)
    )


def add_route(app: FastAPI, endpoint: Endpoint) -> None:
    """Serve an endpoint."""
    app.state.scopes[endpoint.path] = endpoint.scope
    app.router.routes = [
        each for each in app.router.routes if getattr(each, "path", None) != endpoint.path
    ]
    app.openapi_schema = None
    handler = _handler(endpoint)
    for method in endpoint.methods:
        # a route of its own, since each needs another id
        is_first = method == endpoint.methods[0]
        said: dict[str, Any] = {
            "methods": [method],
            "name": endpoint.name,
            "operation_id": endpoint.name if is_first else f"{endpoint.name}_{method.lower()}",
            "response_model": endpoint.schema.output_schema,
            "responses": _ANSWERS,
        }
        app.add_api_route(endpoint.path, handler, **{**said, **endpoint.options})


def _handler(endpoint: Endpoint) -> Callable[..., Any]:
    """Return the endpoint's function as FastAPI takes it, with its exceptions made into answers."""
    function = endpoint.function
    handler = (_async_answer if endpoint.is_async() else _answer)(endpoint)
    handler.__name__ = endpoint.name
    handler.__doc__ = function.__doc__
    parameters: list[Parameter] = []
    if endpoint.takes_input():
        model = endpoint.schema.input_schema
        place = Body() if endpoint.has_body else Query()
        # a form that only FastAPI reads
        hint: Any = Annotated[model or Any, place]
        kind, default = Parameter.KEYWORD_ONLY, None if model is None else Parameter.empty
        parameters = [Parameter("payload", kind, annotation=hint, default=default)]
    handler.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return handler


def _answer(endpoint: Endpoint) -> Callable[..., Any]:
    """Return a plain function, which FastAPI runs in a thread."""
    function = endpoint.function

    def answer(**given: Any) -> Any:
        try:
            return function(*given.values())
        except HTTPException:
            raise
        # SystemExit, too: what one call does must not end the service for the others
        except BaseException as error:  # noqa: BLE001 - the caller is told
            return _failed(endpoint, error)

    return answer


def _async_answer(endpoint: Endpoint) -> Callable[..., Any]:
    """Return a coroutine function, which FastAPI runs on the loop."""
    function = endpoint.function

    async def answer(**given: Any) -> Any:
        try:
            return await function(*given.values())
        except HTTPException:
            raise
        except BaseException as error:  # as above
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the server does that, when it stops
            return _failed(endpoint, error)

    return answer


def _failed(endpoint: Endpoint, error: BaseException) -> JSONResponse:
    facts = {"endpoint": endpoint.name}
    if isinstance(error, MindtraceError):  # it was foreseen, and says everything by itself
        _log.warning("%s failed: %s", endpoint.path, text_of(error), extra=facts)
    else:
        _log.error("%s failed", endpoint.path, exc_info=error, extra=facts)
    return JSONResponse(error_body(type(error).__name__, text_of(error)), 500)


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """Return what a path may be asked with; each method has a route of its own."""
    return sorted(
        method
        for each in app.router.routes
        if isinstance(each, APIRoute) and each.path == path
        for method in each.methods or ()
    )


def _answer_errors(app: FastAPI) -> None:
    """Answer every error in the same form."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        headers = error.headers
        if error.status_code in _WITHOUT_CONTENT:
            return Response(status_code=error.status_code, headers=headers)
        if error.status_code == 405 and (known := _methods_of(app, request.url.path)):  # noqa: PLR2004
            headers = {"Allow": ", ".join(known)}
        detail = cast("object", error.detail)  # FastAPI's may be any JSON value
        said = detail if isinstance(detail, str) else "see `detail`"
        kind = "NotFound" if error.status_code == 404 else type(error).__name__  # noqa: PLR2004
        return JSONResponse(
            error_body(kind, said, detail=detail), error.status_code, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # what was sent is left out: it may hold a secret
        keys = ("type", "loc", "msg")
        details = [{key: each[key] for key in keys} for each in error.errors()]
        return JSONResponse(error_body("invalid", "the input is invalid", detail=details), 422)

    @app.exception_handler(ResponseValidationError)
    async def broken(request: Request, error: ResponseValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        message = f"the service's answer does not fit its own schema: {place}: {first['msg']}"
        _log.error("%s: %s", request.url.path, message)
        return JSONResponse(error_body("InvalidOutput", message), 500)

    _ = refused, invalid, broken
