"""A part of the settings: declared fields, and whatever else the environment brings.

Names are found in any case and under their older spellings: `MINDTRACE_DIR_PATHS` for the section
`dir_paths`, `TEMP_DIR` for its field `temp`. Reading the environment is not done here.
"""

from collections.abc import Iterable
from typing import Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, SecretStr, model_validator

PREFIX = "mindtrace_"
_MISSING = object()
_MASK = "**********"


def plain_name(name: str) -> str:
    """Return the name under which a section or value is kept."""
    return name.lower().removeprefix(PREFIX)


class Section(BaseModel):
    """Holds settings that can be read by attribute or by key, in any case.

    Values that no field declares are kept as they came (text, when they come from the
    environment), and a group of them is a `Section` in turn. Their values are masked in `repr`
    and `str`, as those of `SecretStr` fields are, because nobody said that they are no secrets.
    `model_dump` does show them.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True, hide_input_in_errors=True)

    @model_validator(mode="after")
    def _group_undeclared(self) -> Self:
        extra = self.__pydantic_extra__ or {}
        grouped = {
            plain_name(name): Section.model_validate(value) if isinstance(value, dict) else value
            for name, value in extra.items()
        }
        extra.clear()
        extra.update(grouped)
        return self

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of that name, or `default` if there is none."""
        value = self._find(name)
        return default if value is _MISSING else value

    def get_secret(self, *path: str) -> str | None:
        """Return the text at the end of a path of names, unmasked; None if there is none.

        The result is a plain string: keep it out of logs and messages.
        """
        value: Any = self
        for name in path:
            value = value.get(name) if isinstance(value, Section) else None
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        return None if value is None else str(value)

    def __getitem__(self, name: str) -> Any:
        value = self._find(name)
        if value is _MISSING:
            raise KeyError(name)
        return value

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not _MISSING

    def __getattr__(self, name: str) -> Any:
        value = _MISSING if name.startswith("_") else self._find(name)
        if value is _MISSING:
            message = f"{type(self).__name__} has no setting {name!r}"
            raise AttributeError(message)
        return value

    def _find(self, name: str) -> Any:
        wanted = plain_name(name)
        for key, field in type(self).model_fields.items():
            alias = field.validation_alias
            if wanted == key or (isinstance(alias, AliasChoices) and wanted in alias.choices):
                return getattr(self, key)
        return (self.__pydantic_extra__ or {}).get(wanted, _MISSING)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        undeclared = self.__pydantic_extra__ or {}
        for name, value in super().__repr_args__():
            masked = name in undeclared and not isinstance(value, Section)
            yield name, _MASK if masked else value
