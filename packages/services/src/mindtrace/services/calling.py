"""HTTP calls to a service: what is sent, what comes back, and which errors it becomes.

Sync and async callers share everything but the sending itself.
"""

from __future__ import annotations

import json
import math
import ssl
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from mindtrace.core.errors import InvalidSettingError
from mindtrace.services.errors import (
    AccessDeniedError,
    RequestInvalidError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from mindtrace.services.request_id import request_id
from mindtrace.services.revealing import MASK, revealed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from mindtrace.core.task import TaskSchema
    from mindtrace.services.settings import ServicesSettings

PAUSES = (0.05, 0.2)
"""Seconds before the second and the third attempt to reach a service."""

CONNECT_WITHIN = 5.0
"""The most seconds that making a connection may take, within the time of the call; the same holds
for a gateway and its apps."""

UNKNOWN_TOKEN = 401
REFUSED = frozenset({UNKNOWN_TOKEN, 403})
INVALID = 422
JSON = {"content-type": "application/json", "accept": "application/json"}


class Call(NamedTuple):
    """A call that is about to be made.

    Attributes:
        method: The HTTP method.
        url: The whole URL.
        content: The body.
        params: The query string, as JSON values.
        timeout: Seconds that the service may be silent.
        repeatable: Whether it may be sent again though it may have arrived.
    """

    method: str
    url: str
    content: bytes | None
    params: Mapping[str, Any] | None
    timeout: float
    repeatable: bool

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Return it as httpx takes it; the id of a request that is being answered goes along.

        Raises:
            ValueError: The timeout is not a positive number.
        """
        headers = JSON
        if own_id := request_id.get():
            headers = {**JSON, "x-request-id": own_id}
        if not self.timeout > 0:
            message = f"timeout has to be a positive number of seconds, found {self.timeout!r}"
            raise ValueError(message)
        silence = None if math.isinf(self.timeout) else self.timeout
        limits = httpx.Timeout(silence, connect=min(self.timeout, CONNECT_WITHIN))
        return client.build_request(
            self.method,
            self.url,
            content=self.content,
            params=self.params,
            headers=headers,
            timeout=limits,
        )

    def pause_after(self, error: httpx.RequestError, attempt: int) -> float | None:
        """Return the seconds after which to try again; None if it is not to be.

        A call that did not get out is repeated, one that may have arrived only where that is safe.
        """
        if attempt >= len(PAUSES) or isinstance(error, httpx.TimeoutException):
            return None
        if isinstance(error, httpx.ConnectError) or self.repeatable:
            return PAUSES[attempt]
        return None

    def failure(self, error: httpx.RequestError) -> Exception:
        """Return our error for one of httpx."""
        if isinstance(error, httpx.ConnectTimeout):
            seconds = min(self.timeout, CONNECT_WITHIN)
            return ServiceUnavailableError(self.url, f"no connection within {seconds:g} s")
        if isinstance(error, httpx.TimeoutException):
            return ServiceTimeoutError(self.url, self.timeout)
        if isinstance(error, httpx.ConnectError):
            return ServiceUnavailableError(
                self.url, f"no connection could be made ({error}); check that it runs there"
            )
        problem = f"the connection was lost, and the call may have been carried out ({error})"
        return ServiceUnavailableError(self.url, problem)


class Bearer(httpx.Auth):
    """Shows a token with each call: the first of those that there are which the service knows.

    Args:
        find: Returns the tokens, what opens most first; asked again when one is not known, for it
            may be another by now.
    """

    def __init__(self, find: Callable[[], Sequence[str]]) -> None:
        self._find = find
        self._token = next(iter(find()), None)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Send a request, and again while a token is not known and there is another."""
        shown = self._token
        response = yield _with_token(request, shown)
        if response.status_code != UNKNOWN_TOKEN:
            return
        for token in self._find():
            if token != shown:
                response = yield _with_token(request, token)
                if response.status_code != UNKNOWN_TOKEN:
                    self._token = token
                    return


def _with_token(request: httpx.Request, token: str | None) -> httpx.Request:
    if token is not None:
        request.headers["authorization"] = f"Bearer {token}"
    return request


def trust(settings: ServicesSettings) -> ssl.SSLContext | bool:
    """Return whose certificates are believed.

    Raises:
        InvalidSettingError: The file of the authority cannot be read, or is none.
    """
    if settings.tls_ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(settings.tls_ca))
    except OSError as error:
        problem = f"{settings.tls_ca} is no readable PEM file with certificates ({error})"
        raise InvalidSettingError("MINDTRACE_SERVICES__TLS_CA", problem) from None


def encoded(value: object) -> bytes | None:
    """Return an input as JSON, secrets in clear; None if there is none."""
    if value is None:
        return None
    if isinstance(value, BaseModel):
        content = value.model_dump_json(by_alias=True, round_trip=True).encode()
    else:
        content = _ANY.dump_json(value, by_alias=True, round_trip=True)
    if MASK in content:
        shown, real = _dumped(value, "json"), _dumped(value, "python")
        return _ANY.dump_json(revealed(shown, real))
    return content


def query(value: object) -> dict[str, Any] | None:
    """Return an input as a query string.

    Raises:
        ValueError: Something of it cannot be told in a query string: a secret, which would be in
            the logs of others, or None or an empty list where the default is something else.
    """
    if value is None:
        return None
    values: dict[str, Any] = _dumped(value, "json")
    if revealed(values, _dumped(value, "python")) != values:
        message = "a secret does not go into a query string; let the endpoint take POST"
        raise ValueError(message)
    left_out = {name for name, each in values.items() if each is None or each == []}
    if isinstance(value, BaseModel):
        _check_left_out(value, values, left_out)
    return {name: each for name, each in values.items() if name not in left_out}


def _check_left_out(value: BaseModel, values: dict[str, Any], left_out: set[str]) -> None:
    """Raise if the service would put another default in the place of what is left out."""
    if not left_out:
        return
    for name, field in type(value).model_fields.items():
        key = field.serialization_alias or name
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if key in left_out and (field.is_required() or _ANY.dump_python(default) != values[key]):
            message = (
                f"{name}={values[key]!r} cannot be told in a query string, where it would become "
                "the default; let the endpoint take POST"
            )
            raise ValueError(message)


def _dumped(value: object, mode: Literal["json", "python"]) -> Any:
    return _ANY.dump_python(value, mode=mode, by_alias=True, round_trip=True)


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def decoded(response: httpx.Response, schema: TaskSchema, *, validates: bool) -> Any:
    """Return what a service answered: its output model, or plain values where it has none.

    Raises:
        ServiceError: It answered with an error, or with something else than its schema says.
    """
    if not response.is_success:
        raise error_of(response)
    if not response.content:
        return None
    try:
        if schema.output_schema is not None and validates:
            return schema.output_schema.model_validate_json(response.content)
        return response.json()
    except ValueError as error:
        raise ServiceError(
            str(response.url),
            response.status_code,
            "unexpected answer",
            f"it does not fit the schema {schema.name!r} ({_without_values(error)})",
            response.headers.get("x-request-id", ""),
        ) from None


def _without_values(error: ValueError) -> str:
    """Return what is wrong with an answer, without what is in it."""
    if not isinstance(error, ValidationError):
        return "it is no JSON"
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return ": ".join([*(str(each) for each in first["loc"]), first["msg"]])


def error_of(response: httpx.Response) -> ServiceError:
    """Return the error that an answer stands for."""
    url, status = str(response.url), response.status_code
    own_id = response.headers.get("x-request-id", "")
    found = _object(response.content)
    said = found.get("error")
    said = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    details: Any = found.get("detail")
    if status == INVALID and isinstance(details, list):
        listed = cast("Sequence[Any]", details)
        found_wrong: list[dict[str, Any]] = [
            each if isinstance(each, dict) else {"msg": str(each)} for each in listed
        ]
        return RequestInvalidError(url, found_wrong, own_id)
    kind = str(said.get("type") or response.reason_phrase or "an error")
    message = str(details) if details is not None else said.get("message")
    if message is None:
        message = response.text[:500]
    return (AccessDeniedError if status in REFUSED else ServiceError)(
        url, status, kind, str(message), own_id
    )


def _object(content: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one if it is anything else."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
