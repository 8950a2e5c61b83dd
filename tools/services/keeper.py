"""Runs one command, and ends it together with whoever started this: a script of its own.

It says the command's process id in one line, then reads its standard input. That ends when the
process that started this ends, however it ends (also by SIGKILL); the command and all it started
are then killed. The command's output goes where the errors of this go.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Run the command of the command line until it ends, or our standard input does."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=2, process_group=0)
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    threading.Thread(target=end_with_parent, args=[child.pid], daemon=True).start()
    child.wait()
    kill(child.pid)  # what it may have left behind


def end_with_parent(group: int) -> None:
    """Wait for the end of the standard input, then kill the command."""
    os.read(0, 1)
    kill(group)


def kill(group: int) -> None:
    """Kill a group of processes, if there is anybody in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
