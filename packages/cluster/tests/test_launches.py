"""How a node keeps its workers alive; the real processes are in test_failures.py."""

import socket
from threading import Event
from typing import Any

import pytest
from cluster_support import eventually

from mindtrace.cluster.launches import Wanted, Workers
from mindtrace.services import ServicePortInUseError


class Client:
    """Stands for the client of a worker that lives until it is ended."""

    def __init__(self) -> None:
        self.ended = Event()

    def wait_until_ended(self) -> None:
        self.ended.wait()

    def end(self) -> None:
        self.ended.set()


class Launcher:
    """Launches clients; the attempts whose numbers it is told fail."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.clients: list[Client] = []
        self.attempts = 0

    def __call__(self, wanted: Wanted) -> tuple[Any, str]:
        self.attempts += 1
        if self.attempts in self.failing:
            raise ConnectionError("it was killed while it was connected")
        self.clients.append(Client())
        return self.clients[-1], f"id-{self.attempts}"


def workers_of(launcher: Launcher) -> Workers:
    return Workers(launcher, [30_501, 30_502], lambda: None)


def test_a_worker_that_dies_is_launched_until_it_is_up_again() -> None:
    launcher = Launcher(2, 3)
    workers = workers_of(launcher)
    launch_id = workers.launch("echo", None, ("127.0.0.1", None))
    eventually(lambda: len(workers.running()) == 1)

    launcher.clients[0].end()

    eventually(lambda: [each.worker_id for each in workers.running()] == ["id-4"])
    status = workers.status(launch_id)
    assert status is not None
    assert (status.status, status.worker_id) == ("ready", "id-1")
    workers.shut_down(["echo"])
    assert workers.running() == []
    assert launcher.clients[1].ended.is_set()


def test_a_launch_that_fails_frees_its_name_and_port() -> None:
    launcher = Launcher(1)
    workers = workers_of(launcher)
    first = workers.launch("echo", None, ("127.0.0.1", 30_503))

    def status() -> Any:
        return workers.status(first)

    eventually(lambda: status().status == "failed")
    assert status().error == "it was killed while it was connected"
    eventually(lambda: workers.find(lambda _: True) == [])
    workers.launch("echo", None, ("127.0.0.1", 30_503))
    eventually(lambda: len(workers.running()) == 1)
    workers.shut_down(["echo"])


def test_a_name_or_a_port_that_is_taken_is_refused() -> None:
    workers = workers_of(Launcher())
    workers.launch("echo", "mine", ("127.0.0.1", 30_503))

    with pytest.raises(ValueError, match="'mine' is on this node already"):
        workers.launch("echo", "mine", ("127.0.0.1", None))
    with pytest.raises(ValueError, match="has port 30503 already"):
        workers.launch("echo", "other", ("127.0.0.1", 30_503))
    workers.shut_down(["mine"])


class Taken(Launcher):
    """Finds a port taken that was free a moment ago, and stays so for whoever asks."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.owner = socket.socket()
        self.port = port

    def __call__(self, wanted: Wanted) -> tuple[Any, str]:
        if wanted.port == self.port:
            if self.owner.getsockname()[1] != self.port:
                self.owner.bind(("127.0.0.1", self.port))
                self.owner.listen()
            raise ServicePortInUseError("EchoWorker", wanted.host, wanted.port)
        return super().__call__(wanted)


def test_a_port_that_another_process_takes_first_is_left_to_it() -> None:
    """Two nodes of one machine choose from the same ports."""
    launcher = Taken(30_501)
    workers = workers_of(launcher)
    launch_id = workers.launch("echo", None, ("127.0.0.1", None))

    eventually(lambda: len(workers.running()) == 1)

    status = workers.status(launch_id)
    assert status is not None
    assert (status.status, status.worker_url) == ("ready", "http://127.0.0.1:30502/")
    assert workers.running()[0].worker_port == 30_502
    workers.shut_down(["echo"])
    launcher.owner.close()


def test_a_port_that_was_asked_for_is_not_exchanged() -> None:
    launcher = Taken(30_501)
    workers = workers_of(launcher)
    launch_id = workers.launch("echo", None, ("127.0.0.1", 30_501))

    eventually(lambda: workers.find(lambda _: True) == [])

    status = workers.status(launch_id)
    assert status is not None
    assert status.status == "failed"
    assert "port 30501 of 127.0.0.1 is already in use" in (status.error or "")
    launcher.owner.close()
