"""The watch of a child over its parent, with both of its signs, and where one is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest
from services_support import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.process

WITHOUT = "import os; del os.pidfd_open\n"
"""What makes a system one that has no descriptors for processes."""

CHILD = """
import os, sys, threading
from mindtrace.services.lifeline import Parent
parent = Parent(int(sys.argv[1]))
print(parent.take(0, 3).decode(), flush=True)
if parent.take(0, 3):
    ended = threading.Event()
    parent.watch(os.dup(0), ended.set)
    print("watching", flush=True)
    ended.wait()
print("ended", flush=True)
"""
HOLDER = [sys.executable, "-c", "import threading; threading.Event().wait()"]


class Watched:
    """A process that is watched as if it were the parent, a pipe, and the child that watches."""

    def __init__(self, system: str) -> None:
        self.parent = subprocess.Popen(HOLDER)
        self.child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-c", system + CHILD, str(self.parent.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.pipe: IO[bytes] = self.child.stdin
        self.output: IO[bytes] = self.child.stdout

    def write(self, data: bytes) -> None:
        """Write into the pipe."""
        self.pipe.write(data)
        self.pipe.flush()

    def line(self) -> bytes:
        """Return what the child says next."""
        return self.output.readline().strip()

    def kill_parent(self) -> None:
        """End the parent, and let nothing of it be left."""
        os.kill(self.parent.pid, signal.SIGKILL)
        self.parent.wait()


@contextmanager
def watched(system: str) -> Generator[Watched]:
    """Start both, and end them in the end."""
    pair = Watched(system)
    try:
        yield pair
    finally:
        for each in (pair.parent, pair.child):
            each.kill()
            each.wait(DEADLINE)
        pair.pipe.close()
        pair.output.close()


@pytest.fixture(params=["", WITHOUT], ids=["with descriptors", "without descriptors"])
def pair(request: pytest.FixtureRequest) -> Generator[Watched]:
    with watched(request.param) as pair:
        yield pair


def test_what_the_parent_wrote_is_read(pair: Watched) -> None:
    pair.write(b"abc")
    assert pair.line() == b"abc"


def test_a_parent_that_dies_before_it_wrote_ends_the_reading(pair: Watched) -> None:
    pair.kill_parent()  # the pipe stays open, as where a forked process holds it
    assert [pair.line(), pair.line()] == [b"", b"ended"]


def test_a_parent_that_dies_while_it_writes_ends_the_reading(pair: Watched) -> None:
    pair.write(b"ab")
    assert pair.line() == b"ab"
    pair.kill_parent()
    assert pair.line() == b"ended"


def test_what_a_dead_parent_wrote_is_read_nevertheless(pair: Watched) -> None:
    pair.write(b"abcdef")
    pair.kill_parent()
    assert pair.line() == b"abc"


def test_a_pipe_that_is_closed_while_it_is_read_ends_the_reading(pair: Watched) -> None:
    pair.write(b"abc")
    pair.pipe.close()
    assert [pair.line(), pair.line()] == [b"abc", b"ended"]


def test_a_pipe_that_is_closed_ends_the_watch(pair: Watched) -> None:
    pair.write(b"abcdef")
    assert [pair.line(), pair.line()] == [b"abc", b"watching"]
    pair.pipe.close()
    assert pair.line() == b"ended"


def test_a_parent_that_dies_ends_the_watch_though_the_pipe_is_open(pair: Watched) -> None:
    pair.write(b"abcdef")
    assert [pair.line(), pair.line()] == [b"abc", b"watching"]
    pair.kill_parent()
    assert pair.line() == b"ended"
