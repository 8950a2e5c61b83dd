"""Processes that never outlive the test run, and ports for them to listen on."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

KEEPER = Path(__file__).with_name("keeper.py")
LOOK_EVERY = 0.02
LOWEST, HIGHEST = 10_000, 30_000


class ServerError(Exception):
    """A server did not start or did not stop; the message says which, and where its log is."""


class Kept:
    """A process in a group of its own, under a keeper that kills the group if this process dies."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self._name = name
        self._log = log
        with log.open("ab") as output:
            # a session of its own: Ctrl-C is for the tests, which then stop their servers
            self._keeper = subprocess.Popen(
                [sys.executable, "-S", "-E", str(KEEPER), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        assert self._keeper.stdout is not None
        with self._keeper.stdout as said:
            line = said.readline()
        if not line:
            self.close()
            raise ServerError(f"{name} could not be started; its log is {log}.")
        self.pid = int(line)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._keeper.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the process and all it started; to nobody if it has ended."""
        if self.alive:
            os.killpg(self.pid, number)

    def terminate(self, within: float) -> None:
        """Ask the process to end, and wait until it has; kill it if it does not."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        try:
            self._keeper.wait(within)
        except subprocess.TimeoutExpired:
            self.close()
            raise ServerError(
                f"{self._name} did not stop within {within:g} s and was killed; its log is"
                f" {self._log}."
            ) from None
        self.close()

    def close(self) -> None:
        """Kill the process with all it started, and wait until it is gone."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()  # the keeper kills and reaps
        self._keeper.wait()

    def wait_for(self, ready: Callable[[], bool], within: float) -> None:
        """Wait until a condition holds.

        Raises:
            ServerError: the process ended before, or time is up.
        """
        if not wait_until(lambda: not self.alive or ready(), within):
            raise ServerError(
                f"{self._name} did not answer within {within:g} s; its log is {self._log}."
            )
        if not self.alive:
            raise ServerError(f"{self._name} ended instead of serving; its log is {self._log}.")


def wait_until(holds: Callable[[], bool], within: float) -> bool:
    """Wait until a condition holds, and tell whether it did in time."""
    deadline = monotonic() + within
    while not holds():
        if monotonic() > deadline:
            return False
        threading.Event().wait(LOOK_EVERY)
    return True


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on.

    It lies below those that a system gives to outgoing connections: a client that tries again and
    again to reach a dead server would in the end be given the server's own port, and keep it.
    """
    while True:
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of 127.0.0.1."""
    with socket.socket() as tried:
        tried.settimeout(1)
        return tried.connect_ex(("127.0.0.1", port)) == 0
