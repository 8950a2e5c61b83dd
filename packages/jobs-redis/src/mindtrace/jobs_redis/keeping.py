"""The parent's side of the keeper: one process for each address renews the leases of all holders.

A thread would not do: it starves while C code holds the interpreter's lock. The process is told
what to renew over a pipe, and ends with this process.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mindtrace.jobs_redis.scripts import script

if TYPE_CHECKING:
    from mindtrace.jobs_redis.address import Address

_PROGRAM = Path(__file__).with_name("keeper.py")
_PAUSE = 0.5
_logger = logging.getLogger(__name__)


class Keeper:
    """A keeper process, started again when it ends before this one."""

    def __init__(self, address: Address) -> None:
        self._login = _line("login", *_fields(address))
        self._leases: dict[tuple[str, int], float] = {}
        self._is_closing = False
        self._process = self._started()
        self._watch = threading.Thread(
            target=self._watching, name="mindtrace-keeper-watch", daemon=True
        )
        self._watch.start()

    @property
    def pid(self) -> int:
        """The process that renews."""
        return self._process.pid

    def hold(self, base: str, holder: int, lease: float) -> None:
        """Renew a holder's lease from now on."""
        self._leases[base, holder] = lease
        self._tell(_line("hold", base, str(holder), repr(lease)))

    def end(self, base: str, holder: int) -> None:
        """End a holder's lease at once."""
        if self._leases.pop((base, holder), None) is not None:
            self._tell(_line("end", base, str(holder)))

    def close(self) -> None:
        """End the process; leases that are still held end with it."""
        self._is_closing = True
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._watch.join(2)
        if process.stdout is not None:
            process.stdout.close()

    def forget_after_fork(self) -> None:
        """Let go, in a forked child, of the process that is its parent's."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        # it is no child of this process: nothing here will ever wait for it
        self._process.returncode = 0

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - our own program; the password goes by the pipe
            [sys.executable, "-I", "-S", str(_PROGRAM), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in a terminal goes to the whole group
        )
        self._process = process
        self._tell(self._login)
        for (base, holder), lease in list(self._leases.items()):
            self._tell(_line("hold", base, str(holder), repr(lease)))
        return process

    def _tell(self, line: bytes) -> None:
        """Write one line: in one piece without a lock, so that a collector may do it anywhere."""
        pipe = self._process.stdin
        try:
            if pipe is not None and not pipe.closed:
                pipe.write(line)
        except BrokenPipeError:
            return  # it has ended: the watching thread starts another one, which is told all

    def _watching(self) -> None:
        while not self._is_closing:
            process = self._process
            if process.stdout is not None:
                process.stdout.read()
            if self._is_closing:
                return
            process.wait()
            _logger.warning("The process that renews leases has ended; another one is started.")
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            self._started()
            threading.Event().wait(_PAUSE)


_keepers: dict[tuple[str, ...], Keeper] = {}
_lock = threading.Lock()


def keeper_for(address: Address) -> Keeper:
    """Return the keeper of an address, whatever the namespace; it is started at first."""
    key = tuple(_fields(address))
    with _lock:
        if key not in _keepers:
            _keepers[key] = Keeper(address)
        return _keepers[key]


def _fields(address: Address) -> list[str]:
    tls = address.tls
    flags = (
        [tls.ca_certs or "", tls.certfile or "", tls.keyfile or "", str(int(tls.check_hostname))]
        if tls
        else []
    )
    hosts = " ".join(f"{host} {port}" for host, port in address.hosts)
    return [
        address.kind,
        hosts,
        address.service,
        str(address.db),
        address.username or "",
        address.secret or "",
        script("renew").text,
        *flags,
    ]


def _line(*fields: str) -> bytes:
    """Return fields as one line: hexadecimal, so that a password may hold anything."""
    return b" ".join(each.encode().hex().encode() or b"-" for each in fields) + b"\n"


def _close_all() -> None:
    with _lock:
        for each in _keepers.values():
            each.close()
        _keepers.clear()


def _forget_all() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it at the fork
    _lock = threading.Lock()
    for each in _keepers.values():
        each.forget_after_fork()
    _keepers.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
