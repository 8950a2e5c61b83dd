"""From what pika and the socket raise to `BackendUnavailableError`: the one place where it is done.

pika wraps causes in several ways; what a user needs to know is in the innermost.
"""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pika import exceptions
from pika.adapters.utils.connection_workflow import (
    AMQPConnectorException,
    AMQPConnectorStackTimeout,
)

from mindtrace.jobs.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from mindtrace.jobs_rabbitmq.address import Address

NOT_FOUND, LOCKED, PRECONDITION_FAILED, REFUSED = 404, 405, 406, 403

NATIVE = (exceptions.AMQPError, AMQPConnectorException, OSError, CancelledError)
"""What can come out of a call of the broker; a broken connection cancels what waited for it."""


@contextmanager
def translating(address: Address) -> Generator[None]:
    """Turn what pika and the socket raise into `BackendUnavailableError`, chained."""
    try:
        yield
    except BackendUnavailableError:
        raise  # it is an OSError as well
    except NATIVE as error:
        raise translated(error, address) from error


class Meaning(NamedTuple):
    """What a native error says to a user, and whether trying again may help."""

    reason: str
    transient: bool = True


_MEANINGS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Meaning], ...] = (
    (
        (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError),
        Meaning("it refused the user or the password; check username= and password=", False),
    ),
    (
        exceptions.ProbableAccessDeniedError,
        Meaning(
            "the virtual host does not exist, or this user may not use it; check vhost=",
            transient=False,
        ),
    ),
    (
        ssl.SSLCertVerificationError,
        Meaning(
            "its certificate is not trusted; check cafile and the name in the certificate",
            transient=False,
        ),
    ),
    (
        (ssl.SSLEOFError, ssl.SSLZeroReturnError),
        Meaning("the connection ended while TLS began; check that it is reachable"),
    ),
    (
        ssl.SSLError,
        Meaning("TLS failed; check the port, and amqps:// against amqp://", transient=False),
    ),
    (
        (
            exceptions.ConnectionOpenAborted,
            exceptions.IncompatibleProtocolError,
            exceptions.InvalidFrameError,
        ),
        Meaning(
            "what answers there does not speak AMQP as it should; "
            "check the port, and amqp:// against amqps://"
        ),
    ),
    (exceptions.AMQPHeartbeatTimeout, Meaning("no sign of life came for two heartbeats")),
    (
        socket.gaierror,
        Meaning("its name is not known; check host="),
    ),
    (
        (TimeoutError, AMQPConnectorStackTimeout),
        Meaning("it did not answer in time; check that it is reachable, and the port"),
    ),
)
"""The first that fits counts."""


def translated(error: BaseException, address: Address) -> BackendUnavailableError:
    """Return our error for one of pika's or of the socket; nothing that was sent is quoted."""
    reason, transient = _meaning(error)
    return BackendUnavailableError("rabbitmq", address.shown, reason, transient=transient)


_PROBABLE = (exceptions.ProbableAuthenticationError, exceptions.ProbableAccessDeniedError)
_SAID = exceptions.ConnectionClosedByBroker.__name__
_CUT = Meaning("the connection was lost while logging in; check that it is reachable")


def _meaning(error: BaseException) -> Meaning:
    causes = list(_within(error))
    for each in causes:
        # pika takes any end of the stream at that point for a refusal, and quotes what it was
        if isinstance(each, _PROBABLE) and _SAID not in str(each):
            return _CUT
        for kind, meaning in _MEANINGS:
            if isinstance(each, kind):
                return meaning
    for each in causes:
        if isinstance(each, exceptions.ChannelClosedByBroker | exceptions.ConnectionClosedByBroker):
            refused = each.reply_code == REFUSED
            return Meaning(f"the broker said: {each.reply_text}", transient=not refused)
        if isinstance(each, OSError) and each.strerror:
            return Meaning(f"{each.strerror.lower()}; check that it runs there")
    return Meaning("the connection was lost")


def _within(error: BaseException) -> Iterator[BaseException]:
    """Walk through what pika wraps its causes in, the outermost first."""
    yield error
    inner = [*error.args, *(getattr(error, "exceptions", None) or ())]
    inner.append(getattr(error, "exception", None))
    for each in inner:
        if isinstance(each, BaseException):
            yield from _within(each)


def code_of(error: BaseException) -> int | None:
    """Return the broker's reply code, if this is the broker closing a channel."""
    return error.reply_code if isinstance(error, exceptions.ChannelClosedByBroker) else None
