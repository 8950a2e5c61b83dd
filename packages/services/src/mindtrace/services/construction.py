"""Making objects of a `Service` class, whatever its `__init__` takes."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mindtrace.services.service import Service


def construct(cls: type[Service], init_params: dict[str, Any], **given: Any) -> Service:
    """Return an object of the class; what its `__init__` does not take of `given` is left out."""
    parameters = signature(cls.__init__).parameters
    takes_all = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
    taken = {name: value for name, value in given.items() if takes_all or name in parameters}
    return cls(**{**taken, **init_params})


def probe(cls: type[Service]) -> Service:
    """Return an object of the class that is only asked about its endpoints.

    Raises:
        TypeError: Its `__init__` cannot do without arguments.
    """
    try:
        return construct(cls, {}, live_service=False)
    except TypeError as error:
        message = (
            f"{cls.__name__} has to be made without arguments to learn its endpoints, and that "
            f"failed: {error}. Give the arguments of __init__ defaults."
        )
        raise TypeError(message) from error
