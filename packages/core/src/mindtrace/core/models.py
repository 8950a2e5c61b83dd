"""A pydantic model that also takes its fields by position."""

from typing import Any

from pydantic import BaseModel


class PositionalModel(BaseModel):
    """Maps positional arguments to its fields, in the order of their declaration.

    `Point(1, 2)` and `Point(x=1, y=2)` are the same; validation is as in any model. Reordering
    the fields of a subclass changes what a positional call means. Type checkers know only the
    keyword form of a model, and report a positional call.

    Raises:
        TypeError: There are more positional arguments than fields, or a field is given twice.
        pydantic.ValidationError: A value does not fit its field.
    """

    # Any: these are the unvalidated values that the model is there to check.
    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        if args:
            kwargs |= self._by_name(args, kwargs)
        super().__init__(**kwargs)

    @classmethod
    def _by_name(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        fields = cls.model_fields
        if len(args) > len(fields):
            plural = "" if len(fields) == 1 else "s"
            verb = "was" if len(args) == 1 else "were"
            message = (
                f"{cls.__name__}() takes {len(fields)} positional argument{plural} "
                f"but {len(args)} {verb} given"
            )
            raise TypeError(message)
        named: dict[str, Any] = {}
        for (name, field), value in zip(fields.items(), args, strict=False):
            alias = field.validation_alias
            key = alias if isinstance(alias, str) else name
            if name in kwargs or key in kwargs:
                message = f"{cls.__name__}() got multiple values for argument {name!r}"
                raise TypeError(message)
            named[key] = value
        return named
