"""`Server`: the scripts of this package on one address, over connections that come and go.

It knows scripts, connections and retries; nothing of jobs.
"""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING, Any, cast

import hiredis
import redis.exceptions as native

from mindtrace.core import SystemClock
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs_redis import health
from mindtrace.jobs_redis.connecting import Connector
from mindtrace.jobs_redis.failing import NATIVE, translated
from mindtrace.jobs_redis.scripts import script

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from mindtrace.jobs_redis.address import Address
    from mindtrace.jobs_redis.connecting import Wire

TIMEOUT = 5.0
"""Seconds in which the server must answer."""

PATIENCE = 3.0
"""Seconds for which a call that is safe to repeat is repeated."""

MOST_IDLE = 16
"""Connections kept for later at most."""

MOST_MOVES = 5

FRESH = 0.5
"""Seconds for which a connection is used again without asking whether the server closed it."""

# its type stub says a tuple of one
_pack: Callable[[tuple[Any, ...]], bytes] = cast("Any", hiredis).pack_command


class Server:
    """One address as seen by one client; thread-safe, and a forked child opens its own."""

    def __init__(self, address: Address, logger: logging.Logger, timeout: float = TIMEOUT) -> None:
        self.address = address
        self.offset = 0.0
        """Seconds added to the server's time; 0 outside tests."""
        self.timeout = timeout
        self._logger = logger
        self._connector = Connector(address, timeout)
        self._clock = SystemClock()
        self._idle: list[tuple[Wire, float]] = []
        self._pid = os.getpid()
        self._skew: float | None = None
        self._closed = False

    def now(self) -> float:
        """Return the server's time as far as it is known here."""
        if self._skew is None:
            self._give_back(self._take())
        return self._clock.now() + (self._skew or 0.0) + self.offset

    def call(self, name: str, *args: Any) -> Any:
        """Run a script once and return its answer.

        Raises:
            BackendUnavailableError: it may or may not have run.
        """
        return self._on_a_connection(lambda connection: self._evaluate(connection, name, args))

    def call_again(self, name: str, *args: Any, again_at: int | None = None) -> Any:
        """Run a script that is safe to repeat, until it succeeds or patience ends.

        Args:
            name: the script.
            args: its arguments after the time.
            again_at: the place of an argument that is "1" from the second attempt on.

        Raises:
            BackendUnavailableError: it may or may not have run.
        """
        end = self._clock.monotonic() + PATIENCE
        pause = 0.02
        while True:
            try:
                return self.call(name, *args)
            except BackendUnavailableError as error:
                left = end - self._clock.monotonic()
                if left <= 0 or not is_worth_repeating(error):
                    raise
            threading.Event().wait(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311 - not a secret
            pause = min(2 * pause, 0.5)
            if again_at is not None:
                args = (*args[:again_at], "1", *args[again_at + 1 :])

    def command(self, *command: Any) -> Any:
        """Run one plain command."""
        return self._on_a_connection(lambda connection: health.ask(connection, *command))

    def _on_a_connection(self, act: Callable[[Wire], Any]) -> Any:
        for _ in range(MOST_MOVES):
            connection = self._take()
            try:
                answer = act(connection)
            except native.MovedError as error:
                connection.disconnect()
                self._drop_idle()
                self._connector.moved(*cast("Any", error).node_addr)
            except NATIVE as error:
                raise self._failed(connection, error) from error
            except BaseException:
                # an interrupt in the middle of an answer: what is still to come is nobody's
                connection.disconnect()
                raise
            else:
                self._give_back(connection)
                return answer
        raise self._unusable("the Cluster sends from node to node; try again", transient=True)

    def dedicated(self, extra: float) -> Wire:
        """Return an open connection for blocking commands of up to `extra` seconds."""
        self._after_fork()
        try:
            return self._connector.open(extra)
        except NATIVE as error:
            raise translated(error, self.address) from error

    def failed(self, error: Exception) -> BackendUnavailableError:
        """Return our error for a native one of a dedicated connection, and learn from it."""
        if isinstance(error, native.MovedError):
            self._connector.moved(*cast("Any", error).node_addr)
        else:
            self._connector.forget()
        return translated(error, self.address)

    def close(self) -> None:
        """Close the connections; a closed server is not used again."""
        self._closed = True
        self._drop_idle()

    # connections

    def _take(self) -> Wire:
        self._after_fork()
        if self._closed:
            raise self._unusable("this client was closed; open another one", transient=False)
        while (kept := self._kept()) is not None:
            connection, since = kept
            if self._clock.monotonic() - since < FRESH or _is_alive(connection):
                return connection
            connection.disconnect()
        try:
            connection = self._connector.open()
            if self._skew is None:
                health.warn(connection, self.address, self._logger)
            self._skew = health.skew_of(connection)
        except NATIVE as error:
            raise translated(error, self.address) from error
        return connection

    def _unusable(self, reason: str, *, transient: bool) -> BackendUnavailableError:
        return BackendUnavailableError("redis", str(self.address), reason, transient=transient)

    def _give_back(self, connection: Wire) -> None:
        if self._closed or len(self._idle) >= MOST_IDLE:
            connection.disconnect()
        else:
            self._idle.append((connection, self._clock.monotonic()))

    def _failed(self, connection: Wire, error: Exception) -> BackendUnavailableError:
        """Let go of a connection that failed, and of those that went the same way."""
        if isinstance(error, native.ResponseError) and not isinstance(error, native.ReadOnlyError):
            self._give_back(connection)
        else:
            connection.disconnect()
            self._connector.forget()
            self._drop_idle()
        return translated(error, self.address)

    def _kept(self) -> tuple[Wire, float] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _drop_idle(self) -> None:
        while (kept := self._kept()) is not None:
            kept[0].disconnect()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            # the parent goes on with those: they are left alone, not closed
            self._pid, self._idle = os.getpid(), []

    def _evaluate(self, connection: Wire, name: str, args: tuple[Any, ...]) -> Any:
        what = script(name)
        rest = (1, self.address.base, self.offset, *args)
        # packed directly: redis-py looks at each argument in Python first
        packed = _pack(("EVALSHA", what.sha, *rest))
        connection.send_packed_command([packed])
        try:
            return connection.read_response()
        except native.NoScriptError:
            # a server that restarted, or another one: it learns the script with the call
            return health.ask(connection, "EVAL", what.text, *rest)


def _is_alive(connection: Wire) -> bool:
    """Tell whether a connection that rested was not closed by the other side meanwhile."""
    try:
        return not connection.can_read(0)
    except NATIVE:
        return False


def is_worth_repeating(error: BackendUnavailableError) -> bool:
    """Tell whether waiting for a moment may help; a full memory is told at once."""
    return error.transient and not isinstance(error.__cause__, native.OutOfMemoryError)
