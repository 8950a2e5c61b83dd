"""The process of a launched service starts here, as a script that `launch` runs.

What to serve comes through stdin, so that nothing secret is in the list of processes. The first
argument is the number of the process that launched it; the others are there for who reads that
list. Afterwards stdin is the lifeline: when its other end is closed, this process ends.

Nothing is imported from elsewhere until it is known where imports come from.
"""

from __future__ import annotations

import os
import signal
import sys


def start() -> int:
    """Read what to do from stdin, do it, and return the exit code."""
    from mindtrace.services import framing, lifeline  # noqa: PLC0415 - they need nothing else

    parent = lifeline.Parent(int(sys.argv[1]))

    def take(count: int) -> bytes:
        return parent.take(0, count)

    try:
        order = framing.order(framing.read(take))
        payload = framing.read(take)
    except EOFError:  # the parent is gone
        return 1
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if order.sys_path is None:
        # in the place of where this file's package is
        sys.path[0] = os.getcwd()  # noqa: PTH109 - where pathlib comes from is known only now
    else:
        sys.path[:] = order.sys_path
    from mindtrace.services import launched  # noqa: PLC0415 - see above

    return launched.main(order, payload, None if order.detached else parent, pipe)


def reset_signals() -> None:
    """Forget what the parent ignores or holds back: a child inherits that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for each in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(each, signal.SIG_DFL)
    # until it serves, the parent decides; not SIG_IGN, which its own children would inherit
    signal.signal(signal.SIGINT, _nothing)


def _nothing(*_: object) -> None:
    pass


if __name__ == "__main__":
    reset_signals()
    sys.path.insert(0, __file__.rsplit(os.sep, 3)[0])
    code = start()
    from mindtrace.services.ending import leave

    leave(code)
