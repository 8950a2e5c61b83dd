"""Classes found by their dotted name.

A name is code: whoever chooses it chooses what runs here. Take names from configuration or from
the program itself, never from a queue or a network.
"""

from importlib import import_module
from typing import Any


class NoSuchTargetError(ImportError):
    """Says that there is nothing of that name; the module, if there is one, is in order."""


# Any: the name decides at run time what is found.
def get_class(target: str) -> Any:
    """Import and return what a dotted name such as `package.module.Class` stands for.

    Nested classes (`package.module.Outer.Inner`) and functions are found as well. Importing runs
    the module.

    Raises:
        NoSuchTargetError: The name has no dot, or a part of it does not exist; the message says
            which. An error inside the imported module passes unchanged.
    """
    parts = target.split(".")
    if len(parts) == 1 or not all(parts):
        message = f"Expected a dotted name such as 'package.module.Class', found {target!r}."
        raise NoSuchTargetError(message)
    found, depth = _import_longest(parts)
    for position, part in enumerate(parts[depth:], start=depth):
        if not hasattr(found, part):
            owner = ".".join(parts[:position])
            message = f"{target!r} cannot be imported: {owner!r} has no {part!r}."
            raise NoSuchTargetError(message, name=target)
        found = getattr(found, part)
    return found


def _import_longest(parts: list[str]) -> tuple[Any, int]:
    for depth in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:depth])
        try:
            return import_module(name), depth
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise
    message = f"{'.'.join(parts)!r} cannot be imported: there is no module {parts[0]!r}."
    raise NoSuchTargetError(message, name=parts[0])


def instantiate_target(target: str, /, *args: Any, **kwargs: Any) -> Any:
    """Import the class that a dotted name stands for, and return a new instance of it.

    The arguments go to the class unchanged.

    Raises:
        NoSuchTargetError: As `get_class`.
        TypeError: The name stands for something that cannot be called.
    """
    found = get_class(target)
    if not callable(found):
        message = f"{target!r} is no class: found a value of type {type(found).__name__}."
        raise TypeError(message)
    return found(*args, **kwargs)
