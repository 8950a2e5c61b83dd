"""`Endpoint`: one row of the table that routes, clients and the OpenAPI page are made from."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from inspect import Parameter, iscoroutinefunction, signature
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel

from mindtrace.core.task import TaskSchema
from mindtrace.services.settings import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

F = TypeVar("F", bound="Callable[..., Any]")

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_WITHOUT_BODY = frozenset({"GET", "DELETE", "HEAD", "OPTIONS"})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
_PATH = re.compile(r"/?[.~-]*\w[\w.~-]*(/[.~-]*\w[\w.~-]*)*/?", re.ASCII)
_MARK = "_mindtrace_endpoint"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of a service, and what happens there.

    Attributes:
        path: Where, with a slash at the start.
        name: The method of the client: the path with underscores for everything else.
        function: What runs: it takes the input model, or nothing.
        schema: What goes in and comes out.
        methods: The HTTP methods; a client uses the first.
        scope: Who may call it where tokens are set.
        repeatable: Whether a client may send a call again of which it does not know what became.
        options: What else FastAPI is told about the route.
    """

    path: str
    name: str
    function: Callable[..., Any]
    schema: TaskSchema
    methods: tuple[str, ...] = ("POST",)
    scope: Scope = "api"
    repeatable: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def has_body(self) -> bool:
        """Whether the input travels in the body; else it does in the query string."""
        return self.methods[0] not in _WITHOUT_BODY

    def takes_input(self) -> bool:
        """Tell whether the function takes an argument."""
        return bool(_arguments(self.function))

    def is_async(self) -> bool:
        """Tell whether calling the function gives a coroutine."""
        call = getattr(self.function, "__call__", None)  # noqa: B004 - its kind matters
        return iscoroutinefunction(self.function) or iscoroutinefunction(call)


def make_endpoint(  # noqa: PLR0913 - the facts of one row
    path: str,
    function: Callable[..., Any],
    schema: TaskSchema | None = None,
    *,
    methods: Sequence[str] | None = None,
    scope: Scope = "api",
    repeatable: bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> Endpoint:
    """Return a checked endpoint; without a schema it is read from the function's annotations.

    Raises:
        ValueError: The path has no name in it, a method or scope is unknown, or what the function
            takes does not go with the schema or the methods.
    """
    name = name_of(path)
    chosen = _checked_methods(path, methods or ("POST",))
    if scope not in get_args(Scope):
        message = f"{path}: {scope!r} is no scope; expected one of {sorted(get_args(Scope))}"
        raise ValueError(message)
    schema = schema or schema_of(function, name)
    _check_arguments(path, function, schema)
    if _arguments(function) and len({each in _WITHOUT_BODY for each in chosen}) > 1:
        message = (
            f"{path}: {' and '.join(chosen)} carry the input in different places, the query string "
            "and the body; make two endpoints"
        )
        raise ValueError(message)
    if _arguments(function) and schema.input_schema is None and chosen[0] in _WITHOUT_BODY:
        message = f"{path}: the query string needs an input model, whose fields are in it"
        raise ValueError(message)
    if repeatable is None:
        repeatable = set(chosen) <= _REPEATABLE
    return Endpoint(
        "/" + path.strip("/"), name, function, schema, chosen, scope, repeatable, options or {}
    )


def _checked_methods(path: str, methods: Sequence[str]) -> tuple[str, ...]:
    if isinstance(methods, str):
        message = f"{path}: methods has to be a list such as [{methods!r}]"
        raise ValueError(message)  # noqa: TRY004 - wrong like the other values
    chosen = tuple(dict.fromkeys(each.upper() for each in methods))
    if unknown := [each for each in chosen if each not in _METHODS]:
        message = f"{path}: {unknown[0]} is no HTTP method; expected one of {sorted(_METHODS)}"
        raise ValueError(message)
    return chosen


def _check_arguments(path: str, function: Callable[..., Any], schema: TaskSchema) -> None:
    count = len(_arguments(function))
    if count > 1 or (schema.input_schema is not None and count == 0):
        wanted = (
            "none, or one that is any JSON"
            if schema.input_schema is None
            else f"one, the {schema.input_schema.__name__}"
        )
        message = f"{path}: the function takes {count} arguments; it has to take {wanted}"
        raise ValueError(message)
    for each in signature(function).parameters.values():
        if each.kind is Parameter.KEYWORD_ONLY and each.default is Parameter.empty:
            message = f"{path}: nobody gives the function its keyword {each.name!r}"
            raise ValueError(message)


def name_of(path: str) -> str:
    """Return the name of the client's method for a path; that of `/import` is `import_`.

    Raises:
        ValueError: The path has something else in it than words, or nothing to make a name from.
    """
    name = re.sub(r"\W+", "_", path.strip("/"), flags=re.ASCII).strip("_")
    if not _PATH.fullmatch(path) or not name.isidentifier():
        message = (
            f"{path!r} is no path of an endpoint: expected words such as /echo or /jobs/list, "
            "without parameters, which belong into the input"
        )
        raise ValueError(message)
    return f"{name}_" if keyword.iskeyword(name) else name


def schema_of(function: Callable[..., Any], name: str) -> TaskSchema:
    """Return what a function's annotations say goes in and comes out.

    Raises:
        ValueError: The annotations are no Pydantic models, or cannot be resolved.
    """
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError) as error:
        message = f"{name}: the annotations cannot be read ({error}); pass schema="
        raise ValueError(message) from error
    arguments = _arguments(function)
    taken = hints.get(arguments[0].name) if arguments else None
    return TaskSchema(
        name=name,
        input_schema=_model(taken, name) if arguments else None,
        output_schema=_model(hints.get("return"), name),
    )


def _model(hint: object, name: str) -> type[BaseModel] | None:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    if hint in (None, type(None), Any, dict) or get_origin(hint) is dict:
        return None
    message = f"{name}: {hint!r} is no Pydantic model class; annotate one, or pass schema="
    raise ValueError(message)


def _arguments(function: Callable[..., Any]) -> list[Parameter]:
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in signature(function).parameters.values() if each.kind in kinds]


def endpoint(
    path: str,
    *,
    schema: TaskSchema | None = None,
    methods: Sequence[str] | None = None,
    scope: Scope = "api",
    repeatable: bool | None = None,
) -> Callable[[F], F]:
    """Make a method of a `Service` an endpoint.

    Without a schema, the annotations say what goes in and comes out. The arguments are those of
    `Service.add_endpoint`.
    """
    said = {"schema": schema, "methods": methods, "scope": scope, "repeatable": repeatable}

    def mark(function: F) -> F:
        setattr(function, _MARK, _Mark(path, said, function))
        return function

    return mark


class _Mark(NamedTuple):
    path: str
    said: dict[str, Any]
    function: Callable[..., Any]


def declared(service: object) -> Iterable[Endpoint]:
    """Return the endpoints that the class of a service declares, those of its bases first.

    A method that replaces one of a base stays the endpoint that it was, decorated anew or not; if
    it has no annotations, those of the base hold. `name = None` takes an endpoint of a base away.
    """
    marks: dict[str, _Mark] = {}
    for cls in reversed(type(service).__mro__):
        for name, value in vars(cls).items():
            mark = getattr(value, _MARK, None)
            if isinstance(mark, _Mark):
                marks[name] = mark
    for name, mark in marks.items():
        function = getattr(service, name)
        if function is None:
            continue
        said = dict(mark.said)
        if said["schema"] is None and not getattr(function, "__annotations__", None):
            said["schema"] = schema_of(
                cast("Any", mark.function).__get__(service), name_of(mark.path)
            )
        yield make_endpoint(mark.path, function, **said)
