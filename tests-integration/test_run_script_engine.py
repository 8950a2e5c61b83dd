"""Commands in containers, where the engine itself has its faults."""

import gc
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
import pytest
from packages.cluster.tests.docker_support import MEMORY_HOG, make_image

from mindtrace.cluster.errors import RunScriptError
from mindtrace.cluster.run_script import engine as engine_module
from mindtrace.cluster.run_script.engine import Engine
from mindtrace.cluster.run_script.output import Output
from mindtrace.cluster.run_script.settings import RunScriptSettings
from mindtrace.cluster.run_script.task import Control, Ran, Task
from mindtrace.cluster.run_script.types import RunScriptWorkerInput
from mindtrace.cluster.workers.environments.docker_env import DockerEnvironment
from mindtrace.jobs import Consumer
from tools.services.docker import DockerServer
from tools.services.process import Kept, wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.docker(own=True),
    pytest.mark.xdist_group("docker"),
    # docker-py does not close the socket of a call that meets an engine which has just ended
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket"),
]

CGROUPS = Path("/sys/fs/cgroup/unified")
"""Where the second version is beside the first one, which has all that limits are made of."""

AWAY = 3.0


class Unlimited(DockerServer):
    """An engine with no cgroups but those that limit nothing."""

    def _launch(self, *around: str) -> Kept:
        words = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"
        return super()._launch(*around, "unshare", "-m", "sh", "-c", f'{words} && exec "$@"', "sh")


class Relay(socketserver.ThreadingUnixStreamServer):
    """Stands before an engine, in whose states of containers nothing has run out of memory.

    An engine that hears of it after the end has such states; its events tell it all the same,
    unless nobody is allowed to ask for them.
    """

    def __init__(self, server: DockerServer, *, tells_events: bool) -> None:
        self.engine = str(server.folder / "docker.sock")
        self.asked = b"/events?" if tells_events else b"/guarded"
        self.path = str(server.folder / "relay.sock")
        super().__init__(self.path, _Relayed)


class _Relayed(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.server.engine)
            back = threading.Thread(target=self._back, args=(engine,))
            back.start()
            while data := self.request.recv(1 << 16):
                engine.sendall(data.replace(b"/events?", self.server.asked))
            engine.shutdown(socket.SHUT_RDWR)
            back.join()

    def _back(self, engine: socket.socket) -> None:
        with suppress(OSError):  # nobody is there any more
            while data := engine.recv(1 << 16):
                # as long as it was
                self.request.sendall(data.replace(b'"OOMKilled":true', b'"OOMKilled":null'))
            self.request.shutdown(socket.SHUT_WR)


@contextmanager
def relay_before(server: DockerServer, *, tells_events: bool = True) -> Generator[str]:
    with Relay(server, tells_events=tells_events) as relay:
        thread = threading.Thread(target=relay.serve_forever)
        thread.start()
        try:
            yield f"unix://{relay.path}"
        finally:
            relay.shutdown()
            thread.join()


class Place:
    """An engine of one's own, and jobs for it."""

    def __init__(self, folder: Path, server: DockerServer, stack: ExitStack) -> None:
        self.folder = folder
        self.server = stack.enter_context(server)
        untyped: Any = docker.APIClient
        self.api: Any = untyped(base_url=server.url)
        stack.callback(self.api.close)
        self.image = make_image(self.api)
        self.engine = Engine(folder / "workers")
        stack.callback(self.engine.close)
        self.cpu = 0.0

    def run(self, command: str, **more: object) -> Ran:
        spec = {"environment": {"docker": {"image": self.image}}, "command": command, **more}
        job = RunScriptWorkerInput.model_validate(spec)
        assert job.environment.docker is not None
        settings = RunScriptSettings()
        began = time.thread_time()
        with Output(self.folder) as output:
            control = Control(lambda: False, Consumer.progress(), 1 << 20)
            environment = DockerEnvironment(job.environment.docker, self.engine, settings)
            try:
                return environment.run(Task.of(job, settings), output, control, self.folder)
            finally:
                self.cpu = time.thread_time() - began

    def left(self) -> list[Any]:
        return list(self.api.containers(all=True))

    def when_one_runs(self, do: Callable[[], object]) -> threading.Thread:
        def wait() -> None:
            wait_until(lambda: bool(self.api.containers()), 30)
            do()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[type[DockerServer]], Place]]:
    with ExitStack() as stack:

        def started(kind: type[DockerServer]) -> Place:
            # the paths of its sockets are bounded
            folder = stack.enter_context(TemporaryDirectory(prefix="mindtrace-docker-"))
            server = kind(Path(folder))
            monkeypatch.setenv("DOCKER_HOST", server.url)
            return Place(tmp_path, server, stack)

        yield started
    gc.collect()  # here, where the warning is expected, and not in a test of something else


def test_an_engine_that_comes_back_ends_what_ran(
    start: Callable[[type[DockerServer]], Place],
) -> None:
    place = start(DockerServer)

    def away() -> None:
        place.server.kill()
        threading.Event().wait(AWAY)
        place.server.start()

    thread = place.when_one_runs(away)
    found = place.run("sleep 300")
    thread.join()
    assert found.ended.code in {137, 143}
    assert place.left() == []
    # it was not asked without a pause
    assert place.cpu < AWAY / 3


def test_an_engine_that_stays_away_is_told_and_tidied_up_later(
    start: Callable[[type[DockerServer]], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = start(DockerServer)
    thread = place.when_one_runs(place.server.kill)
    with monkeypatch.context() as hasty:
        hasty.setattr(engine_module, "ANSWERS_WITHIN", 1)
        with pytest.raises(RunScriptError, match="no Docker engine answers"):
            place.run("sleep 300")
    thread.join()
    place.server.start()
    assert len(place.left()) == 1
    assert place.run("true").ended.code == 0
    assert place.left() == []


@pytest.mark.skipif(not CGROUPS.is_dir(), reason="takes cgroups of the first version")
def test_an_engine_that_would_forget_limits_is_not_used(
    start: Callable[[type[DockerServer]], Place],
) -> None:
    place = start(Unlimited)
    with pytest.raises(RunScriptError, match=r"the Docker engine cannot keep limits\.memory"):
        place.run("true")
    assert place.left() == []


def test_memory_that_ran_out_is_told_where_the_state_does_not_say_so(
    start: Callable[[type[DockerServer]], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = start(DockerServer)
    with relay_before(place.server) as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        with closing(Engine(place.folder / "workers")) as place.engine:
            # the engine itself may lose what the kernel told it
            hogs = (place.run(MEMORY_HOG, limits={"memory": "32MiB"}).ended for _ in range(5))
            hog = next((each for each in hogs if each.limit is not None), None)
            other = place.run("sh -c 'kill -9 $$'; exit $?", limits={"memory": "32MiB"}).ended
    assert hog is not None
    assert (hog.code, hog.limit) == (137, "memory")
    assert (other.code, other.limit) == (137, None)


def test_an_engine_that_does_not_tell_its_events_costs_nothing_of_the_record(
    start: Callable[[type[DockerServer]], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = start(DockerServer)
    with relay_before(place.server, tells_events=False) as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        with closing(Engine(place.folder / "workers")) as place.engine:
            found = place.run(MEMORY_HOG, limits={"memory": "32MiB"}).ended
    assert (found.code, found.limit) == (137, None)
