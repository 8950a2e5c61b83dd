"""The settings, read from the environment.

A variable is called `MINDTRACE_<SECTION>__<KEY>`. What is passed to `Config` wins over the
environment, and the environment over a file `.env` in the current directory. This module is
loaded only when settings are first needed, because pydantic-settings is slow to load.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from mindtrace.core.errors import InvalidSettingError
from mindtrace.core.section import PREFIX, Section, plain_name

Model = TypeVar("Model", bound=BaseModel)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        message = f"the home directory in {path} is unknown; give an absolute path"
        raise ValueError(message) from None


Folder = Annotated[Path, AfterValidator(_expanded)]
Level = Annotated[
    Literal["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


def _below_root(name: str) -> Any:
    return Field(default=Path(), validation_alias=AliasChoices(name, f"{name}_dir"))


class DirPaths(Section):
    """Says where files go. Nothing is created by reading it; `~` is expanded.

    The other folders lie below `root` and move with it, unless they are set themselves.

    Attributes:
        root: The folder of everything that Mindtrace keeps on this machine.
        temp: Files that may vanish.
        logs: Log files.
        server_pids: Process ids of running services.
        orchestrator_local_client: The queues of a `LocalClient` without arguments.
        cluster_registry: The worker types that an embedded cluster knows.
    """

    root: Folder = Field(default=Path("~/.cache/mindtrace"), validate_default=True)
    temp: Folder = _below_root("temp")
    logs: Folder = Field(default=Path(), validation_alias=AliasChoices("logs", "logger_dir"))
    server_pids: Folder = _below_root("server_pids")
    orchestrator_local_client: Folder = _below_root("orchestrator_local_client")
    cluster_registry: Folder = _below_root("cluster_registry")

    @model_validator(mode="after")
    def _follow_root(self) -> Self:
        for name in type(self).model_fields:
            if name not in {"root", *self.model_fields_set}:
                below = name.replace("orchestrator_", "orchestrator/")
                # Through vars: a folder that follows is not one that was set.
                vars(self)[name] = self.root / below
        return self


class JobsSettings(Section):
    """Says where jobs are kept.

    Attributes:
        backend_url: The backend of an `Orchestrator()` without arguments; may hold a password.
    """

    backend_url: SecretStr | None = None


class LoggerSettings(Section):
    """Says what `setup_logging` does when it is not told.

    Attributes:
        level: The least level that is logged.
        format: `text` for people, `json` for machines.
    """

    level: Level = "INFO"
    format: Literal["text", "json"] = "text"


class _Environment(EnvSettingsSource):
    """Reads the environment and `.env`, and keeps sections that no field declares."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        found = {**_dotenv(settings_cls), **self.env_vars}
        self.env_vars = {name: value for name, value in found.items() if value}

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        # Sorted, so that a section comes after a lone value of the same name, and wins.
        for name in sorted(self.env_vars):
            path = name.removeprefix(PREFIX).split("__")
            if name.startswith(PREFIX) and path[0] not in self.settings_cls.model_fields:
                _put(values, path, self.env_vars[name])
        return values

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value  # so that validation names the variable, which is unknown here


def _dotenv(settings_cls: type[BaseSettings]) -> Mapping[str, str | None]:
    try:
        return DotEnvSettingsSource(
            settings_cls, env_file=".env", env_file_encoding="utf-8"
        ).env_vars
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingError(str(Path(".env").absolute()), "the file is unreadable") from error


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    first, *rest = path
    if not rest:
        values[first] = value
        return
    if not isinstance(values.get(first), dict):
        values[first] = {}
    _put(values[first], rest, value)


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {
        plain_name(name): _named(cast("dict[str, Any]", value))
        if isinstance(value, dict)
        else value
        for name, value in values.items()
    }


def _explain(error: ValidationError, *above: str) -> InvalidSettingError:
    first = error.errors(include_url=False, include_input=False)[0]
    path = [*above, *(str(part) for part in first["loc"])]
    problem = first["msg"].removeprefix("Value error, ")
    return InvalidSettingError(
        (PREFIX + "__".join(path)).upper(), problem[:1].lower() + problem[1:].rstrip(".")
    )


class Settings(Section, BaseSettings):
    """Reads variables that start with `MINDTRACE_`, once, when it is constructed.

    Derive from it to declare sections of your own; sections that nobody declares are kept as
    text. A later change of the environment or of `.env` shows only in a new object. An empty
    variable counts as not set.

    Raises:
        InvalidSettingError: A value does not fit; the message names its variable, not the value.
    """

    model_config = SettingsConfigDict(
        extra="allow", env_prefix=PREFIX, env_nested_delimiter="__", hide_input_in_errors=True
    )

    # Any: these are the unvalidated values that the model is there to check.
    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**_named(values))
        except ValidationError as error:
            # Not chained: its text may hold what was found.
            raise _explain(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed first, then the environment, then `.env`."""
        return init_settings, _Environment(settings_cls)

    def section(self, name: str, model: type[Model]) -> Model:
        """Return a section as an instance of `model`, so that undeclared sections get types.

        Raises:
            InvalidSettingError: A value of the section does not fit the model.
        """
        values = self.get(name, {})
        raw = values.model_dump() if isinstance(values, BaseModel) else values
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            raise _explain(error, plain_name(name)) from None


class Config(Settings):
    """Holds the settings that all Mindtrace packages share.

    `config.dir_paths.root` and `config["MINDTRACE_DIR_PATHS"]["ROOT"]` are the same.

    Attributes:
        dir_paths: Where files go.
        jobs: Where jobs are kept.
        logger: What `setup_logging` does when it is not told.
    """

    dir_paths: DirPaths = Field(default_factory=DirPaths)
    jobs: JobsSettings = Field(default_factory=JobsSettings)
    logger: LoggerSettings = Field(default_factory=LoggerSettings)


def dotenv() -> dict[str, str]:
    """Return the variables that the file `.env` in the current directory sets for Mindtrace.

    Those that the environment sets itself are left out. A process that is started in another
    directory does not find the file; give it these.

    Raises:
        InvalidSettingError: The file is unreadable.
    """
    known = {name.upper() for name in os.environ}
    found = {name.upper(): value for name, value in _dotenv(Config).items() if value}
    return {
        name: value
        for name, value in found.items()
        if name.startswith(PREFIX.upper()) and name not in known
    }


def get_config() -> Config:
    """Read the environment now and return the settings.

    Each call reads anew; keep the result where settings are needed often.

    Raises:
        InvalidSettingError: A value does not fit.
    """
    return Config()
