"""`Mindtrace`: the class that gives its subclasses a name, a logger and the settings.

Everything is made on first use, so that constructing an object costs next to nothing.
"""

from abc import ABC
from collections.abc import Callable
from types import MethodWrapperType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from logging import Logger

    from mindtrace.core.settings import Config

T = TypeVar("T")


class _SharedAttribute(Generic[T]):
    """Computes an attribute from the class, whether it is read there or on an instance.

    It has no `__set__` when it runs, so an instance may have a value of its own.
    """

    def __init__(self, compute: Callable[[type], T], *, keep: bool = False) -> None:
        self._compute = compute
        self._keep = keep
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> T:
        value = self._compute(owner)
        if self._keep and instance is not None:
            instance.__dict__[self._name] = value
        return value

    if TYPE_CHECKING:
        # At run time the value simply lands in the instance's own attributes.
        def __set__(self, instance: object, value: T) -> None: ...


def _name(cls: type) -> str:
    """The name of the class."""
    return cls.__name__


def _unique_name(cls: type) -> str:
    """The name of the class with its module before it."""
    return f"{cls.__module__}.{cls.__name__}"


def _logger(cls: type) -> "Logger":
    """The logger of the class, below `mindtrace` and named after `unique_name`."""
    from mindtrace.core.log import get_logger  # noqa: PLC0415 - logging is loaded when first needed

    return get_logger(_unique_name(cls))


def _config(_cls: type) -> "Config":
    """The settings. An instance reads them once, at first use; the class reads them each time."""
    from mindtrace.core.settings import get_config  # noqa: PLC0415 - pydantic-settings is slow to load

    return get_config()


class Mindtrace:
    """Gives a class and its instances `name`, `unique_name`, `logger` and `config`.

    All four can be read on the class and on an instance, are made when first read, and can be
    replaced on an instance by assignment. `config` reads the environment when first read on an
    instance and is kept there, so later changes of the environment go unseen by that instance;
    read on the class, it reads the environment each time.

    As a context manager it logs an exception that leaves the block, and lets it pass.

    `__init__` cooperates: it hands its keywords to the next class in line, so it can stand
    anywhere among several bases.

    Raises:
        TypeError: A keyword is left that no class in line takes.
    """

    name = _SharedAttribute(_name)
    unique_name = _SharedAttribute(_unique_name)
    logger = _SharedAttribute(_logger)
    config = _SharedAttribute(_config, keep=True)

    # Any: the keywords belong to classes further down the line.
    def __init__(self, **kwargs: Any) -> None:
        following = super().__init__
        last = isinstance(following, MethodWrapperType) and following.__objclass__ is object
        if kwargs and last:
            unknown = ", ".join(repr(name) for name in kwargs)
            message = f"{type(self).__name__}() got unexpected keyword arguments: {unknown}"
            raise TypeError(message)
        following(**kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.logger.error("%s ended with an exception", type(self).__name__, exc_info=error)


class MindtraceABC(Mindtrace, ABC):
    """Is `Mindtrace` for classes with abstract methods."""
