"""The process that the workers are forked from.

It has imported everything and opened nothing, so that a worker starts in milliseconds where a new
interpreter takes most of a second: a storm needs hundreds of them. It reads commands, one line of
JSON each, and answers on its standard output. When its input ends, it ends with all its workers.
"""

import ctypes
import json
import os
import select
import signal
import sys
from typing import Any

import workers
from orders import Orders

from mindtrace.jobs.loading import load_backend

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the input ends. In a forked worker, return after its work."""
    alarm, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    living: set[int] = set()
    commands = b""
    while True:
        ready, _, _ = select.select([0, alarm], [], [])
        if alarm in ready:
            os.read(alarm, 4096)
            _bury(living)
        if 0 not in ready:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return _end(living)
        *whole, commands = (commands + chunk).split(b"\n")
        for text in whole:
            command = json.loads(text)
            if "signal" in command:
                _pass_on(living, *command["signal"])
            elif (pid := os.fork()) == 0:
                return _become_worker(command)
            else:
                living.add(pid)
                _answer({"started": pid})


def _pass_on(living: set[int], pid: int, number: int) -> None:
    if pid in living:  # not buried yet, so the number cannot belong to anybody else
        os.kill(pid, number)


def _become_worker(command: dict[str, Any]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    errors = os.open(command["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, errors), (2, errors)):
        os.dup2(source, target)
    os.closerange(3, 256)
    sys.exit(workers.work(Orders.from_json(command["orders"])))


def _bury(living: set[int]) -> None:
    for pid in list(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            living.discard(pid)
            _answer({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _end(living: set[int]) -> None:
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _answer(facts: dict[str, Any]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    for name in ("redis", "rabbitmq"):
        load_backend(name)  # slow: once here, and not in each worker
    main()
