"""The keeper: a small process that renews the leases of its parent's holders, and ends with it.

Run as a program by `keeping.py`. It imports next to nothing and speaks just enough of Redis's
protocol, for one of it runs beside every process that consumes. What it renews, and how to log in,
it reads from its standard input; when its parent dies, however that comes, it ends their leases at
once and then itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

TIMEOUT = 1.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
LOOK_FOR_PARENT = 0.5
MOST_MOVES = 5


class Refused(Exception):  # noqa: N818 - what the server said, not an error of ours
    """The server answered with an error."""


class Wire:
    """One connection that speaks enough of the protocol."""

    def __init__(self, host: str, port: int, tls: list[str]) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT)
        self._rest = b""
        if tls:
            import ssl  # noqa: PLC0415 - slow to load, seldom needed

            context = ssl.create_default_context(cafile=tls[0] or None)
            context.check_hostname = tls[3] == "1"
            if tls[1]:
                context.load_cert_chain(tls[1], tls[2] or None)
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def ask(self, *words: str) -> object:
        """Send one command and return its answer; raise `Refused` for an error."""
        parts = [f"*{len(words)}\r\n".encode()]
        for word in words:
            data = word.encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self._socket.sendall(b"".join(parts))
        return self._answer()

    def _answer(self) -> object:
        line = self._line()
        kind, text = line[:1], line[1:].decode("utf-8", "replace")
        if kind == b"-":
            raise Refused(text)
        if kind == b"$":
            return None if text == "-1" else self._bytes(int(text)).decode("utf-8", "replace")
        if kind == b"*":
            return [self._answer() for _ in range(int(text))]
        return text

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._more()
        line, self._rest = self._rest.split(b"\r\n", 1)
        return line

    def _bytes(self, count: int) -> bytes:
        while len(self._rest) < count + 2:
            self._more()
        data, self._rest = self._rest[:count], self._rest[count + 2 :]
        return data

    def _more(self) -> None:
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionError
        self._rest += data

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Place:
    """Where the server is, and a connection to it that comes and goes."""

    def __init__(self, fields: list[str]) -> None:
        self._kind, hosts, self._service, self._db, self._username, self._password = fields[:6]
        self._script = fields[6]
        self._tls = fields[7:]
        words = hosts.split(" ")
        self._hosts = [(words[at], int(words[at + 1])) for at in range(0, len(words), 2)]
        self._node: tuple[str, int] | None = None
        self._wire: Wire | None = None

    def renew(self, base: str, holders: dict[str, str]) -> None:
        """Renew the leases of one namespace's holders."""
        words = [word for pair in holders.items() for word in pair]
        for _ in range(MOST_MOVES):
            try:
                self._connected().ask("EVAL", self._script, "1", base, "0", *words)
            except Refused as error:
                code, _, rest = str(error).partition(" ")
                self.hang_up()
                if code != "MOVED":
                    raise
                host, _, port = rest.split(" ")[-1].rpartition(":")
                self._node = (host or self._hosts[0][0], int(port))
            else:
                return

    def hang_up(self) -> None:
        """Let go of the connection; the next call looks anew where the server is."""
        if self._wire is not None:
            self._wire.close()
        self._wire = self._node = None

    def _connected(self) -> Wire:
        if self._wire is None:
            wire = self._opened()
            if self._password:
                login = [self._username, self._password] if self._username else [self._password]
                wire.ask("AUTH", *login)
            if self._db != "0":
                wire.ask("SELECT", self._db)
            self._wire = wire
        return self._wire

    def _opened(self) -> Wire:
        if self._kind == "sentinel":
            host, port = self._primary()
            return Wire(host, port, self._tls)
        known = [self._node] if self._node else []
        failure: OSError | None = None
        for host, port in [*known, *self._hosts]:
            try:
                return Wire(host, port, self._tls)
            except OSError as error:
                failure = error
        raise failure or ConnectionError

    def _primary(self) -> tuple[str, int]:
        for host, port in self._hosts:
            try:
                sentinel = Wire(host, port, self._tls)
                found = sentinel.ask("SENTINEL", "get-master-addr-by-name", self._service)
                sentinel.close()
            except (OSError, Refused):
                continue  # another Sentinel may know
            if isinstance(found, list):
                name, number = map(str, found)  # pyright: ignore[reportUnknownArgumentType] - texts
                return name, int(number)
        raise ConnectionError


class Leases:
    """What is to be renewed, and when."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held: dict[str, dict[str, str]] = {}
        self._due = 0.0
        self._pause = FIRST_PAUSE

    def heard(self, fields: list[str]) -> None:
        """Do what one line of the parent says."""
        if fields[0] == "hold":
            _, base, holder, lease = fields
            self._held.setdefault(base, {})[holder] = lease
            self._due = time.monotonic()
        elif fields[0] == "end":
            _, base, holder = fields
            self._held.get(base, {}).pop(holder, None)
            if not self._held.get(base):
                self._held.pop(base, None)
            self._say(base, {holder: "0"})

    def seconds(self) -> float | None:
        """Return how long there is nothing to do; None for ever."""
        return max(0.0, self._due - time.monotonic()) if self._held else None

    def renew(self) -> None:
        """Renew what is due."""
        if not self._held or time.monotonic() < self._due:
            return
        shortest = min(float(each) for held in self._held.values() for each in held.values())
        # not `all(generator)`: each namespace is tried, whether or not another one failed
        said = [self._say(base, held) for base, held in self._held.items()]
        if all(said):
            self._pause = FIRST_PAUSE
            self._due = time.monotonic() + shortest / 3
        else:
            self._due = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def end(self) -> None:
        """End all leases: nobody is there to hold them any more."""
        for base, held in self._held.items():
            self._say(base, dict.fromkeys(held, "0"))

    def _say(self, base: str, holders: dict[str, str]) -> bool:
        try:
            self._place.renew(base, holders)
        except (OSError, Refused):
            # the parent meets the same fault and tells of it
            self._place.hang_up()
            return False
        return True


def fields_of(line: bytes) -> list[str]:
    """Return the fields of a line of the parent."""
    return [
        "" if each == b"-" else bytes.fromhex(each.decode()).decode() for each in line.split(b" ")
    ]


class Parent:
    """The process that started this one, and its words; gone when it has ended, however."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)
        self._longest: float | None = LOOK_FOR_PARENT
        if hasattr(os, "pidfd_open"):
            # an open pipe proves nothing: a child that the parent forked has its other end, too
            try:
                self._poll.register(os.pidfd_open(number), select.POLLIN)
            except ProcessLookupError:
                self._number = 0  # it died before this process had begun
            self._longest = None

    @property
    def is_gone(self) -> bool:
        """Whether this process belongs to another one now."""
        return os.getppid() != self._number

    def words(self, seconds: float | None) -> list[list[str]] | None:
        """Return what it says within that time; None when it has gone and nothing is left."""
        bounds = [each for each in (seconds, self._longest) if each is not None]
        patience = 0 if self.is_gone else 1000 * min(bounds) if bounds else None
        ready = {number for number, _ in self._poll.poll(patience)}
        if 0 not in ready:
            return None if self.is_gone else []
        data = os.read(0, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [fields_of(line) for line in lines] if data else None


def keep(parent: Parent) -> None:
    """Renew until the parent has gone; then end what it held."""
    leases: Leases | None = None
    while (heard := parent.words(leases.seconds() if leases else None)) is not None:
        for fields in heard:
            if fields[0] == "login":
                leases = Leases(Place(fields[1:]))
            elif leases:
                leases.heard(fields)
        if leases and not parent.is_gone:
            leases.renew()
    if leases:
        leases.end()


if __name__ == "__main__":
    # a stop is the parent's to hear: it still finishes its jobs, and needs its leases for that
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep(Parent(int(sys.argv[1])))
