"""`register_connection_manager`: a client class of one's own, as a decorator of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindtrace.services.connection_manager import ConnectionManager
    from mindtrace.services.service import Service

S = TypeVar("S", bound="type[Service]")


def register_connection_manager(manager: type[ConnectionManager]) -> Callable[[S], S]:
    """Make `connect` and `launch` of the decorated service return clients of this class."""

    def register(service: S) -> S:
        service.register_connection_manager(manager)
        return service

    return register
