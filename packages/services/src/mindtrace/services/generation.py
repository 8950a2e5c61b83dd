"""`generate_connection_manager`: a client class with a method for each endpoint of a service."""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from mindtrace.services.connection_manager import TIMEOUT, ConnectionManager
from mindtrace.services.construction import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from mindtrace.services.endpoints import Endpoint
    from mindtrace.services.service import Service

KEPT = frozenset({"status", "shutdown"})
"""The endpoints whose methods `ConnectionManager` has itself."""

# not on the service itself: a class that is sent to a child whole would take it along
_generated: WeakKeyDictionary[type[Service], type[ConnectionManager]] = WeakKeyDictionary()

OPTIONS = ("timeout", "validate_input", "validate_output")
"""The keywords of each method that are not of the input, unless the input has such a field."""


def generate_connection_manager(service: type[Service]) -> type[ConnectionManager]:
    """Return the client class of a service: `EchoServiceConnectionManager` for `EchoService`.

    For an endpoint `echo` it has `echo` and `aecho`. Each takes the fields of the input as
    keywords, or one object of the input model, and returns the output model. Beside these it takes
    `timeout=` (seconds that the service may be silent, 60 if not given), `validate_input=False` to
    send the keywords as they are, and `validate_output=False` to get plain values. Where the input
    has a field of such a name, the keyword is the field's.
    """
    made_before = _generated.get(service)
    if made_before is not None:
        return made_before
    table = {each.name: each for each in probe(service).table}
    members: dict[str, Any] = {
        "table": table,
        "__doc__": f"A client of `{service.__name__}`.",
        "__module__": service.__module__,
    }
    base = service.client_base()
    kept = kept_by(base)
    for each in table.values():
        if each.name not in kept:
            members[each.name] = _method(each)
            members[f"a{each.name}"] = _async_method(each)
    generated = type(f"{service.__name__}ConnectionManager", (base,), members)
    _generated[service] = generated
    return generated


def kept_by(base: type[ConnectionManager]) -> frozenset[str]:
    """Return the names of the endpoints whose methods a base of clients has itself."""
    own = (vars(each) for each in base.__mro__ if each not in ConnectionManager.__mro__)
    return KEPT.union(*own)


def _method(endpoint: Endpoint) -> Callable[..., Any]:
    split = _splitter(endpoint)

    def method(self: ConnectionManager, *args: Any, **kwargs: Any) -> Any:
        value, timeout, validates = split(args, kwargs)
        return self.call(endpoint, value, timeout=timeout, validates=validates)

    return _described(method, endpoint, endpoint.name)


def _async_method(endpoint: Endpoint) -> Callable[..., Any]:
    split = _splitter(endpoint)

    async def method(self: ConnectionManager, *args: Any, **kwargs: Any) -> Any:
        value, timeout, validates = split(args, kwargs)
        return await self.acall(endpoint, value, timeout=timeout, validates=validates)

    return _described(method, endpoint, f"a{endpoint.name}")


def _described(method: Callable[..., Any], endpoint: Endpoint, name: str) -> Callable[..., Any]:
    method.__name__ = method.__qualname__ = name
    method.__doc__ = endpoint.function.__doc__
    method.__signature__ = signature_of(endpoint)  # type: ignore[attr-defined]
    return method


def signature_of(endpoint: Endpoint) -> Signature:
    """Return how the method of an endpoint is called, as editors and `help` show it."""
    model = endpoint.schema.input_schema
    fields = list(signature(model).parameters.values()) if model is not None else []
    names = {each.name for each in fields}
    options: list[tuple[str, type, object]] = [
        ("timeout", float, TIMEOUT),
        ("validate_input", bool, True),
        ("validate_output", bool, True),
    ]
    keywords = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, kind, default in options
        if name not in names
    ]
    place = Parameter("self", Parameter.POSITIONAL_ONLY)
    kept = [each for each in fields if each.kind is not Parameter.VAR_KEYWORD]
    others = [each for each in fields if each.kind is Parameter.VAR_KEYWORD]
    if model is None and endpoint.takes_input():
        others = [Parameter("values", Parameter.VAR_KEYWORD, annotation=Any)]
    answer = endpoint.schema.output_schema or Any
    return Signature([place, *kept, *keywords, *others], return_annotation=answer)


def _splitter(
    endpoint: Endpoint,
) -> Callable[[tuple[Any, ...], dict[str, Any]], tuple[object, float, bool]]:
    """Return what tells the input of a call from its options."""
    model = endpoint.schema.input_schema
    fields = model.model_fields if model is not None else {}
    options = tuple(each for each in OPTIONS if each not in fields)
    wants_any = model is None and endpoint.takes_input()

    def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[object, float, bool]:
        said = {name: kwargs.pop(name) for name in options if name in kwargs}
        value: object
        if wants_any and len(args) == 1 and not kwargs:
            value = args[0]
        else:
            value = made(endpoint, model, args, kwargs, validates=said.get("validate_input", True))
        return value, said.get("timeout", TIMEOUT), said.get("validate_output", True)

    return split


def made(
    endpoint: Endpoint,
    model: type[BaseModel] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    validates: bool,
) -> object:
    """Return the input of a call.

    Raises:
        ValueError: It has neither keywords alone nor one object of the input model alone.
        pydantic.ValidationError: The keywords do not fit the input model; it does not show them.
    """
    if model is None:
        if args or (kwargs and not endpoint.takes_input()):
            message = f"{endpoint.name}() must be called with no arguments: it takes no input"
            raise ValueError(message)
        return kwargs or None
    if not args:
        return checked_input(model, kwargs) if validates else kwargs
    if len(args) == 1 and not kwargs:
        (given,) = args
        if isinstance(given, model):
            return given
        if isinstance(given, dict):
            values = cast("dict[str, Any]", given)
            return checked_input(model, values) if validates else values
    message = (
        f"{endpoint.name}() must be called with keywords, or with one {model.__name__}: "
        f"{', '.join(model.model_fields)}"
    )
    raise ValueError(message)


def checked_input(model: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    """Return the values as the input model.

    Raises:
        pydantic.ValidationError: They do not fit. It does not show them: one may be a secret.
    """
    try:
        return model(**values)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        lines = [_hidden(each["type"], each["msg"], each["loc"]) for each in found]
        raise ValidationError.from_exception_data(error.title, lines, hide_input=True) from None


# Any: Pydantic wants literals, so that nobody translates at run time
def _hidden(kind: Any, message: Any, place: tuple[int | str, ...]) -> InitErrorDetails:
    return {"type": PydanticCustomError(kind, message), "loc": place, "input": None}
