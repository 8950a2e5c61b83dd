"""`StateApps`: the apps of a manager's gateway, kept in the state of the cluster."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mindtrace.cluster.errors import StateUnavailableError
from mindtrace.core.log import get_logger
from mindtrace.services.gateway.types import AppConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.cluster.ports.state import StateStore

APPS = "apps"

LOOK_EVERY = 0.5
"""Seconds within which a manager sees what another one of the same cluster registered."""

_log = get_logger(__name__)


class StateApps:
    """Keeps registrations in a state store; see `AppStore`.

    A thread looks for what others changed, so that `stamp`, which is asked for each request, costs
    nothing.

    Args:
        state: Returns the store; not asked before `begin`.
    """

    def __init__(self, state: Callable[[], StateStore]) -> None:
        self._state_of = state
        self._seen: dict[str, dict[str, Any]] = {}
        self._stamp = 0
        self._mutex = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mindtrace-apps", daemon=True)

    def begin(self, owner: str, *, empty: bool) -> None:
        """Prepare; what is there belongs to the cluster, whichever manager asks."""
        del owner, empty
        self._look()
        self._thread.start()

    def read(self) -> list[AppConfig]:
        """Return all registrations."""
        with self._mutex:
            return [AppConfig.model_validate(each) for each in self._seen.values()]

    def put(self, config: AppConfig) -> None:
        """Add a registration; it replaces one of the same name."""
        self._state_of().put(APPS, config.name, config.model_dump(mode="json"))
        self._look()

    def remove(self, name: str) -> bool:
        """Remove a registration, and tell whether there was one."""
        found = self._state_of().remove(APPS, name)
        self._look()
        return found

    def stamp(self) -> object:
        """Return something that is another one after each change."""
        return self._stamp

    def end(self) -> None:
        """Look no more."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        with self._mutex:
            found = self._state_of().all(APPS)
            if found != self._seen:
                self._seen = found
                self._stamp += 1

    def _watch(self) -> None:
        said = False
        while not self._ending.wait(LOOK_EVERY):
            try:
                self._look()
            except StateUnavailableError as error:
                if not said:
                    _log.warning("The gateway goes on with the apps that it knows: %s", error)
                said = True
            else:
                said = False
