"""Typed clients for editors: `python -m mindtrace.services.stubs package.module:EchoService`.

`EchoService.connect()` makes its client at run time, so an editor cannot know that it has an
`echo`. This writes a module which tells it. The recommended way: write it beside the service,

    python -m mindtrace.services.stubs shop.echo:EchoService -o src/shop/echo_client.py

and name its class where a client is made:

    from shop.echo_client import EchoServiceConnectionManager

    client: EchoServiceConnectionManager = EchoService.launch()
    other = EchoServiceConnectionManager("http://elsewhere:8000")

At run time the class is the generated one itself, so what was written may be out of date without
harm, except to the checker. Write it again when the endpoints change.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from enum import Enum
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from mindtrace.services.connection_manager import ConnectionManager
from mindtrace.services.construction import probe
from mindtrace.services.generation import kept_by, signature_of
from mindtrace.services.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mindtrace.services.endpoints import Endpoint

HEADER = '''\
"""The client of `{name}`, made by `python -m mindtrace.services.stubs {target}`."""

from __future__ import annotations

# mypy: disable-error-code="empty-body"

{imports}

if TYPE_CHECKING:

    class {name}ConnectionManager({base}):
        """A client of `{name}`."""

{methods}

else:
    {name}ConnectionManager = generate_connection_manager({service})
'''


def typed_client(service: type[Service]) -> str:
    """Return a module with the typed client of a service."""
    names, base = Names(), service.client_base()
    kept = kept_by(base)
    methods = [
        line
        for each in probe(service).table
        if each.name not in kept
        for line in _methods(each, names)
    ]
    path, is_special = names.of(service), base is not ConnectionManager
    parent = names.of(base) if is_special else "ConnectionManager"
    text = "\n".join(f"        {line}" for line in methods)
    typing = [each for each in ("Any", "Literal", "overload") if each in text]
    imports = [
        f"from typing import {', '.join(['TYPE_CHECKING', *typing])}",
        "",
        *(f"import {each}" for each in sorted(names.modules)),
        "from mindtrace.services import "
        + ("" if is_special else "ConnectionManager, ")
        + "generate_connection_manager",
    ]
    return HEADER.format(
        name=service.__name__,
        target=f"{service.__module__}:{service.__qualname__}",
        imports="\n".join(imports),
        base=parent,
        methods=text,
        service=path,
    )


class Names:
    """Writes types down, and keeps the modules that have to be imported for them."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def of(self, kind: Any) -> str:
        """Return a type as it is written; `Any` for one that has no name to be imported by."""
        if kind is None or kind is type(None):
            return "None"
        if kind is Any:
            return "Any"
        origin = get_origin(kind)
        if origin is not None:
            return self._made_of(origin, get_args(kind))
        if not isinstance(kind, type) or "<locals>" in kind.__qualname__:
            return "Any"
        if kind.__module__ == "builtins":
            return kind.__qualname__
        self.modules.add(kind.__module__)
        return f"{kind.__module__}.{kind.__qualname__}"

    def _made_of(self, origin: Any, parts: tuple[Any, ...]) -> str:
        if origin is Annotated:
            return self.of(parts[0])
        if origin is Literal:
            return f"Literal[{', '.join(self._value(each) for each in parts)}]"
        if origin in (Union, types.UnionType):
            return " | ".join(self.of(each) for each in parts)
        inner = ["..." if each is Ellipsis else self.of(each) for each in parts]
        # a callable's arguments are a list, and no input has one
        return f"{self.of(origin)}[{', '.join(inner)}]" if isinstance(origin, type) else "Any"

    def _value(self, value: object) -> str:
        return f"{self.of(type(value))}.{value.name}" if isinstance(value, Enum) else repr(value)


def _methods(endpoint: Endpoint, names: Names) -> Iterator[str]:
    """Return the lines of the two methods of an endpoint."""
    signature = signature_of(endpoint)
    answer = names.of(signature.return_annotation)
    model = endpoint.schema.input_schema
    fields = set(model.model_fields) if model is not None else set[str]()
    # without these, the answer is what the schema says
    left_out = {"validate_input", "validate_output"} - fields
    parameters = [each for each in signature.parameters.values() if each.name not in left_out][1:]
    forms = [", ".join(["self", *_keywords(parameters, names)])]
    if model is not None or endpoint.takes_input():
        payload = f"payload: {names.of(model) if model is not None else 'Any'}"
        options = [
            each for each in parameters if each.name == "timeout" and "timeout" not in fields
        ]
        forms.append(", ".join(["self", payload, "/", *_keywords(options, names)]))
    for start, name in (("def", endpoint.name), ("async def", f"a{endpoint.name}")):
        if len(forms) == 1:
            yield f"{start} {name}({forms[0]}) -> {answer}: ..."
            continue
        for form in forms:
            yield "@overload"
            yield f"{start} {name}({form}) -> {answer}: ..."
        yield f"{start} {name}(self, *args: Any, **kwargs: Any) -> Any: ..."


def _keywords(parameters: Sequence[Parameter], names: Names) -> Iterator[str]:
    if any(each.kind is Parameter.KEYWORD_ONLY for each in parameters):
        yield "*"
    for each in parameters:
        if each.kind is Parameter.VAR_KEYWORD:
            yield f"**{each.name}: Any"
        else:
            default = "" if each.default is Parameter.empty else " = ..."
            yield f"{each.name}: {names.of(each.annotation)}{default}"


def _service(target: str) -> type[Service]:
    """Return the class that `package.module:Class` names.

    Raises:
        ValueError: There is no such service.
    """
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        message = f"{target} is no package.module:Service ({error})"
        raise ValueError(message) from error
    if not isinstance(found, type) or not issubclass(found, Service):
        message = f"{target} is no Service class"
        raise ValueError(message)  # noqa: TRY004 - wrong like the other targets
    return found


def main() -> int:
    """Write the client of the service that is named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mindtrace.services.stubs", description="Write a typed client of a service."
    )
    parser.add_argument("service", metavar="package.module:Service")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="stdout, if not given")
    arguments = parser.parse_args()
    try:
        text = typed_client(_service(arguments.service))
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            arguments.output.write_text(text, encoding="utf-8")
    except (ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
