"""How a class gets into a child process: by its name where the child can import it, else whole.

A class of the running script, of a notebook cell, of a function or of a module that is not on the
path is pickled whole, with what it refers to, so the script is not run a second time. Only our own
child unpickles it, from a pipe.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

from mindtrace.core.target import NoSuchTargetError, get_class
from mindtrace.services.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec

_pickle: Any = cloudpickle  # it has no types
_pickling = threading.RLock()
"""Held while modules are registered with cloudpickle, which has one register for all threads."""


def shipped(cls: type, init_params: Mapping[str, Any]) -> bytes:
    """Return a class, and what its `__init__` is given, pickled for a child that has our path.

    Raises:
        TypeError: Something cannot be pickled, such as an open file; the message says what holds
            it.
    """
    try:
        return _dumped(cls, dict(init_params))
    except Exception as error:
        message = (
            f"{_culprit(cls, init_params)} cannot be sent to a process of its own: {error}. Move "
            "what it refers to into a module, or make it in startup()."
        )
        raise TypeError(message) from error


def shipped_by_name(target: str, base: type, init_params: Mapping[str, Any]) -> bytes:
    """Return the same for a class that this process may not have.

    Args:
        target: Its dotted name, which the child imports.
        base: The class that it has to derive from.
        init_params: What its `__init__` is given.
    """
    no_modules: list[str] = []
    nothing_named: list[object] = []
    classes = (_Named(target, base), dict(init_params), nothing_named)
    return pickle.dumps(no_modules) + pickle.dumps(classes)


class _Named:
    """Stands for a class where it is pickled, and is that class where it is unpickled."""

    def __init__(self, target: str, base: type) -> None:
        self._described = target, base

    def __reduce__(self) -> tuple[Any, ...]:
        return named_class, self._described


def named_class(target: str, base: type) -> type:
    """Import and return a class that derives from another one.

    Raises:
        TargetError: There is no such class, or it does not derive from that.
    """
    try:
        found = get_class(target)
    except NoSuchTargetError as error:
        raise TargetError(str(error)) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        name = base.__name__
        message = f"{target} is no {name}: it does not derive from {name}"
        raise TargetError(message)
    return found


def _culprit(cls: type, init_params: Mapping[str, Any]) -> str:
    """Return words for what cannot be pickled."""
    for name, value in init_params.items():
        try:
            _dumped(None, {name: value})
        except Exception:  # noqa: BLE001 - whatever it is
            return f"the parameter {name!r} of {cls.__name__}"
    return cls.__name__


def _dumped(cls: type | None, init_params: dict[str, Any]) -> bytes:
    with _pickling:
        registered: list[ModuleType] = []
        named: list[tuple[FunctionType, dict[str, Any]]] = []
        try:
            while True:
                stream = io.BytesIO()
                pickler = _Pickler(stream, registered)
                pickler.dump((cls, init_params, named))
                if len(pickler.named) == len(named):
                    names = [each.__name__ for each in registered]
                    return pickle.dumps(names) + stream.getvalue()
                # what annotations name is sent along, and may bring more with it
                named = list(pickler.named.values())
        finally:
            for module in registered:
                _pickle.unregister_pickle_by_value(module)


class _Pickler(_pickle.Pickler):  # type: ignore[misc]
    """Pickles whole what the child could not import."""

    def __init__(self, stream: io.BytesIO, registered: list[ModuleType]) -> None:
        super().__init__(stream)  # pyright: ignore[reportUnknownMemberType]
        self.named: dict[FunctionType, tuple[FunctionType, dict[str, Any]]] = {}
        self._registered = registered
        self._known = {"__main__"}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType, TypeVar)):
            self._meet(obj.__module__)
        elif isinstance(obj, ModuleType):
            self._meet(obj.__name__)
        above: Any = super()
        result = above.reducer_override(obj)
        if isinstance(obj, FunctionType) and result is not NotImplemented:
            names = _named_by(obj)
            if names:
                self.named[obj] = (obj, names)
        return result

    def _meet(self, name: object) -> None:
        """Have the things of a module pickled whole if the child cannot import it."""
        if name in self._known or not isinstance(name, str):
            return
        self._known.add(name)
        module = sys.modules.get(name)
        if module is None or name in _pickle.list_registry_pickle_by_value():
            return
        if not child_finds(name):
            _pickle.register_pickle_by_value(module)
            self._registered.append(module)


def _named_by(function: FunctionType) -> dict[str, Any]:
    """Return what the annotations name that are text, as a `__future__` import makes them.

    cloudpickle sends only what the code refers to.
    """
    names: set[str] = set()
    annotations = getattr(function, "__annotations__", {})
    for each in annotations.values():
        if isinstance(each, str):
            try:
                names.update(compile(each, "an annotation", "eval").co_names)
            except SyntaxError:
                continue
    found = function.__globals__
    return {name: found[name] for name in sorted(names) if name in found}


def child_finds(name: str) -> bool:
    """Tell whether a process with our path would import the same module by this name."""
    if name in sys.builtin_module_names:
        return True
    module = sys.modules.get(name)
    if module is None:
        return False
    above, _, _ = name.rpartition(".")
    if above and not child_finds(above):
        return False
    path = getattr(sys.modules[above], "__path__", []) if above else None
    spec, own = _found(name, path), getattr(module, "__spec__", None)
    return spec is not None and own is not None and spec.origin == own.origin


def _found(name: str, path: Any) -> ModuleSpec | None:
    """Ask those whom an import asks, as if the module had not been imported."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path) if find is not None else None
        if spec is not None:
            return spec
    return None


def _renew() -> None:
    global _pickling  # noqa: PLW0603 - a thread that held it is not in a forked process
    _pickling = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
