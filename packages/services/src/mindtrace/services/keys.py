"""Which token opens what: the scopes of endpoints, and the keys to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic import SecretStr

    from mindtrace.services.settings import ServicesSettings


COMMON = ("api", "submit", "node")
"""What the API token opens beside an admin token: all scopes that are not for administrators."""


class Key(NamedTuple):
    """A token that callers may show.

    Attributes:
        name: Where it is set, for messages: the name of a variable.
        token: The token.
        opens: The scopes of the endpoints that it opens; None for all.
    """

    name: str
    token: bytes
    opens: frozenset[str] | None = None

    def fits(self, scope: str) -> bool:
        """Tell whether it opens endpoints of a scope."""
        return self.opens is None or scope in self.opens

    def __repr__(self) -> str:  # a token appears nowhere
        return f"Key({self.name})"


def key(name: str, token: SecretStr | None, *opens: str) -> list[Key]:
    """Return the key that a setting makes, in a list; an empty one if it is not set.

    Args:
        name: The setting's variable.
        token: Its value.
        opens: The scopes that it opens; all if none is named.
    """
    if token is None:
        return []
    return [Key(name, token.get_secret_value().encode(), frozenset(opens) if opens else None)]


def keys_of(settings: ServicesSettings) -> list[Key]:
    """Return the keys of the settings of all services.

    The API token opens everything where there is no admin token, else what is not `admin`.
    """
    api, admin = settings.api_token, settings.admin_token
    return [
        *key("MINDTRACE_SERVICES__API_TOKEN", api, *(() if admin is None else COMMON)),
        *key("MINDTRACE_SERVICES__ADMIN_TOKEN", admin),
    ]
