"""Blocking until a consumer is rung: a dedicated connection, and a way to be woken by a signal.

What is waited for is a list in Redis that a script pushes to. Nothing can be lost between looking
and blocking, for the list keeps what was pushed; and nobody blocks longer than a second.
"""

from __future__ import annotations

import os
import select
import uuid
from typing import TYPE_CHECKING, Any, Self

from mindtrace.jobs_redis.failing import NATIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs_redis.connecting import Wire
    from mindtrace.jobs_redis.server import Server

LONGEST = 1.0
"""Seconds that one blocking command takes at most."""

_SHORTEST = 0.001


class Ear:
    """A holder's own connection for blocking; `wake` may be called by a signal handler."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Wire | None = None
        self._is_owed = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def listen(self, keys: Sequence[str], seconds: float) -> None:
        """Block until one of the lists is rung, `wake` is called, or the time is over.

        Raises:
            BackendUnavailableError: the connection was lost.
        """
        try:
            if self._connection is None:
                self._connection = self._server.dedicated(LONGEST)
            self._block(self._connection, keys, seconds)
        except NATIVE as error:
            self.hang_up()
            raise self._server.failed(error) from error
        except BaseException:
            self.hang_up()
            raise

    def _block(self, connection: Wire, keys: Sequence[str], seconds: float) -> None:
        if self._is_owed:
            self._is_owed = False
            if connection.read_response() is not None:
                return
        bound = _bounded(seconds)
        connection.send_command("BLPOP", *keys, f"{bound:.3f}")
        poll = select.poll()
        poll.register(self._socket_of(connection), select.POLLIN)
        poll.register(self._reader, select.POLLIN)
        woken = {number for number, _ in poll.poll(1000 * bound)}
        if self._reader in woken:
            os.read(self._reader, 4096)
            # the answer to come must not be taken for that of the next command
            self.hang_up()
        elif woken:
            connection.read_response()
        else:
            # an idle server looks at its timeouts ten times a second: its answer comes late, and
            # is read before the next command
            self._is_owed = True

    @staticmethod
    def _socket_of(connection: Wire) -> Any:
        return connection._sock  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - nothing public polls

    def wake(self) -> None:
        """Make `listen` return, now or at its next call."""
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            return  # so many have called that one is certainly heard

    def hang_up(self) -> None:
        """Let go of the connection; what it was told and did not hear is looked for in a second."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
            self._is_owed = False

    def close(self) -> None:
        """Let go of everything."""
        self.hang_up()
        os.close(self._reader)
        os.close(self._writer)


class Bell:
    """A wait for one outcome: a list of its own in Redis, and a connection to block on it."""

    def __init__(self, server: Server) -> None:
        self.token = uuid.uuid4().hex
        self._server = server
        self._connection: Wire | None = None

    def wait(self, seconds: float) -> None:
        """Block until it is rung, or the time is over.

        Raises:
            BackendUnavailableError: the connection was lost.
        """
        try:
            if self._connection is None:
                self._connection = self._server.dedicated(LONGEST)
            key = f"{self._server.address.base}:bell:{self.token}"
            self._connection.send_command("BLPOP", key, f"{_bounded(seconds):.3f}")
            self._connection.read_response()
        except NATIVE as error:
            raise self._server.failed(error) from error

    def __enter__(self) -> Self:
        """Begin; the connection is opened when it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.disconnect()


def _bounded(seconds: float) -> float:
    # 0 would block for ever
    return min(max(seconds, _SHORTEST), LONGEST)
