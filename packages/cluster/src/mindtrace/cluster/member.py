"""`Member`: what nodes and workers have in common as services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindtrace.cluster.tokens import member_keys, with_own_key
from mindtrace.services import Service

if TYPE_CHECKING:
    from mindtrace.core.settings import Config
    from mindtrace.services import ConnectionManager
    from mindtrace.services.keys import Key


class Member(Service):
    """A service of a cluster, which opens to the manager and to its own user.

    Where no token is set, it opens to callers of its own user on its own machine; see
    `mindtrace.cluster.tokens`.
    """

    @classmethod
    def keys_in(cls, config: Config) -> list[Key]:
        """Return the tokens that the settings give: those of services, and `node`."""
        return member_keys(config)

    @property
    def keys(self) -> list[Key]:
        """The tokens that open it; without one in the settings, that of its own user."""
        return with_own_key(super().keys, self)

    @classmethod
    def client_base(cls) -> type[ConnectionManager]:
        """Return what the classes of clients are derived from."""
        from mindtrace.cluster.client import MemberConnectionManager  # noqa: PLC0415 - as needed

        return MemberConnectionManager
