"""From what redis-py raises to `BackendUnavailableError`: the one place where that happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import redis.exceptions as native

from mindtrace.jobs.errors import BackendUnavailableError

if TYPE_CHECKING:
    from mindtrace.jobs_redis.address import Address

NATIVE = (native.RedisError, OSError)
"""What a call of redis-py may raise because of the server or the way to it."""


class Meaning(NamedTuple):
    """What a native error says to a user, and whether trying again may help."""

    reason: str
    transient: bool = True


_LOGIN = Meaning("it refused the login; check username= and password=", transient=False)
_FULL = Meaning(
    "its memory is full (maxmemory is reached), so nothing new is taken and nothing was lost; "
    "raise maxmemory, or let consumers drain the queues"
)
_FORBIDDEN = Meaning(
    "this user may not do what jobs need; grant it ~{mt1:* and +@all -@admin -@dangerous",
    transient=False,
)
_MOVING = Meaning("the Cluster is moving slots, or has nobody to serve them")
_TOO_OLD = Meaning("it is older than Redis 7.0, which this package needs", transient=False)
_AUTHORITY = Meaning(
    "its certificate is not trusted; check ssl_ca_certs= and the name in the certificate",
    transient=False,
)

_OF_CLASS: tuple[tuple[type[Exception], Meaning], ...] = (
    (native.AuthenticationError, _LOGIN),
    (native.NoPermissionError, _FORBIDDEN),
    (native.OutOfMemoryError, _FULL),
    (native.BusyLoadingError, Meaning("it is still loading its data")),
    (
        native.ReadOnlyError,
        Meaning("it is a read-only replica now; the primary is elsewhere, or not chosen yet"),
    ),
    (native.AskError, _MOVING),
    (native.MovedError, _MOVING),
    (native.TryAgainError, _MOVING),
    (native.ClusterDownError, _MOVING),
    (native.MasterDownError, Meaning("no primary is known at the moment")),
    (native.TimeoutError, Meaning("it did not answer in time; check that it is reachable")),
    (TimeoutError, Meaning("it did not answer in time; check that it is reachable")),
)
_OF_TEXT: tuple[tuple[str, Meaning], ...] = (
    ("OOM", _FULL),
    ("No master found", Meaning("no Sentinel knows a primary of that name at the moment")),
    ("CERTIFICATE_VERIFY_FAILED", _AUTHORITY),
    ("MISCONF", Meaning("it cannot write to its disk and refuses writes; see the server's log")),
    ("BUSY", Meaning("it is busy with another script")),
    ("compiling script", _TOO_OLD),
    ("NOPERM", _FORBIDDEN),
    ("no permissions", _FORBIDDEN),
)


def translated(error: Exception, address: Address) -> BackendUnavailableError:
    """Return our error for a native one; it names the place and says what to do."""
    meaning = meaning_of(error)
    return BackendUnavailableError(
        "redis", str(address), meaning.reason, transient=meaning.transient
    )


def meaning_of(error: Exception) -> Meaning:
    """Return what a native error says to a user; nothing that was sent is quoted."""
    for kind, meaning in _OF_CLASS:
        if isinstance(error, kind):
            return meaning
    for words, meaning in _OF_TEXT:
        if words in str(error):
            return meaning
    if isinstance(error, native.ConnectionError | OSError):
        return Meaning(f"it cannot be reached ({_cause(error)}); check that it runs there")
    code = str(error).split(" ", 1)[0][:40]
    return Meaning(f"it answered with an error ({code}); see the server's log", transient=False)


def _cause(error: BaseException) -> str:
    """Return the system's words for a failed connection, without the address that we name."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror.lower()
        found = found.__cause__ or found.__context__
    return "the connection was lost"
