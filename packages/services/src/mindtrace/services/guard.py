"""Who may call: tokens, where there are any; else only this machine's programs, and no web page.

Without a token, a page in a browser on this machine could call a service: by a request from a
foreign origin, or under a name of its own that it lets resolve to 127.0.0.1. So the origin and the
name of the host are looked at.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from mindtrace.services.keys import keys_of
from mindtrace.services.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindtrace.services.keys import Key
    from mindtrace.services.settings import Scope, ServicesSettings

_HOST = re.compile(r"(?:\[([^]]*)\]|([^:[\]]*))(?::\d*)?")


class Caller(NamedTuple):
    """What a request says of where it comes from.

    Attributes:
        address: Of the machine that it came from; empty if unknown.
        reached: Our own address that it came to; empty if unknown.
        scheme: `http` or `https`.
        host: The header of that name.
        origin: The header of that name; only browsers send it.
        authorization: The header of that name.
        forwarded_for: The addresses that it came from before, as `X-Forwarded-For` has them. They
            are believed only where they make a call one from afar.
    """

    address: str
    reached: str
    scheme: str
    host: str
    origin: str | None
    authorization: str | None
    forwarded_for: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    reason: str


class Guard:
    """Decides about requests to one service.

    Args:
        settings: The names and origins that are known, and the tokens if no keys are given.
        host: The name under which the service is reached.
        scopes: Who may call which path; looked at anew for each request.
        keys: What opens which scopes; those of the settings if not given. Where there are none,
            no token is needed.
        insecure: Whether other machines are let in without a token.
    """

    def __init__(
        self,
        settings: ServicesSettings,
        host: str,
        scopes: Mapping[str, Scope],
        *,
        keys: Sequence[Key] | None = None,
        insecure: bool = False,
    ) -> None:
        self._keys = keys_of(settings) if keys is None else list(keys)
        self._scopes = scopes
        self._insecure = insecure
        names = ("localhost", socket.gethostname(), host, *settings.allowed_hosts)
        self._names = frozenset(_name_of(each) for each in names)
        self._origins = frozenset(each.lower() for each in settings.allowed_origins)

    def refusal(self, path: str, caller: Caller) -> Refusal | None:
        """Return why a request is refused; None lets it pass. Paths nobody knows need `api`."""
        # a route also answers to its path with a line break after it
        path = path.removesuffix("\n")
        scope = self._scopes.get(path, "api")
        if not self._keys:
            return self._foreign(caller) or self._from_afar(path, caller)
        if scope == "open":
            return None
        return self._unauthorized(scope, caller.authorization)

    def _unauthorized(self, scope: Scope, authorization: str | None) -> Refusal | None:
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            names = self._names_for(scope)
            return Refusal(401, f"a token is needed where the call is made: set {names}")
        shown = token.strip().encode()
        # each is compared, so that the time tells nothing
        shows = [each for each in self._keys if compare_digest(shown, each.token)]
        if any(each.fits(scope) for each in shows):
            return None
        if shows:
            return Refusal(403, f"this takes another token: {self._names_for(scope)}")
        names = self._names_for(scope)
        return Refusal(401, f"the token is not the one of this service; set {names}")

    def _names_for(self, scope: Scope) -> str:
        """Return where the tokens are set that open a scope."""
        return " or ".join(each.name for each in self._keys if each.fits(scope))

    def _from_afar(self, path: str, caller: Caller) -> Refusal | None:
        way = (caller.address, *caller.forwarded_for)
        if path == "/shutdown" and not all(_is_local(each) for each in way):
            return Refusal(403, "without a token a service is shut down from its own machine only")
        if not self._insecure and _is_exposed(caller.reached):
            reason = (
                "without a token no call from other machines is answered: set "
                "MINDTRACE_SERVICES__API_TOKEN, or launch it with insecure=True"
            )
            return Refusal(403, reason)
        return None

    def _foreign(self, caller: Caller) -> Refusal | None:
        host = _name_of(caller.host)
        if host not in self._names and not _is_address(host):
            reason = (
                f"the host {caller.host!r} is not known here: call it by its address, or name it "
                "in MINDTRACE_SERVICES__ALLOWED_HOSTS"
            )
            return Refusal(403, reason)
        if caller.origin is None:
            return None
        origin = caller.origin.lower()
        if origin != f"{caller.scheme}://{caller.host}".lower() and origin not in self._origins:
            reason = (
                f"pages of {caller.origin} may not call this service: name the origin in "
                "MINDTRACE_SERVICES__ALLOWED_ORIGINS"
            )
            return Refusal(403, reason)
        return None


def _name_of(host: str) -> str:
    """Return the name or address in a Host header, without the port; all of it if it is none."""
    found = _HOST.fullmatch(host.lower())
    return (found[1] or found[2]) if found else host.lower()


@lru_cache(maxsize=256)
def _is_address(host: str) -> bool:
    """Tell whether it is an address, which no page can make its own name resolve to."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _is_local(address: str) -> bool:
    """Tell whether it is an address of this machine alone; a name, as a forger may send it, not."""
    return _is_address(address) and is_loopback(address)


@lru_cache(maxsize=256)
def _is_exposed(address: str) -> bool:
    """Tell whether it is an address that other machines can reach."""
    return _is_address(address) and not is_loopback(address)
