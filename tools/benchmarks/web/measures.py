"""What is measured of services, each beside the plain libraries in the same run."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import ClassVar

import fastapi
import httpx
import uvicorn

from mindtrace.services import ConnectionManager, Gateway
from mindtrace.services.samples.echo_service import EchoService
from tools.benchmarks.children import Child, python
from tools.benchmarks.report import Bar, Figure, Row, durations, rates
from tools.benchmarks.settings import Settings
from tools.benchmarks.turns import take_turns
from tools.commands import ROOT

MESSAGE = "x" * 200


class WebStage:
    """The echo service, and beside it a bare FastAPI route that does the same."""

    folder: ClassVar[str] = "web"
    measures: ClassVar[tuple[str, ...]] = ("launch", "call", "requests", "gateway", "shutdown")
    note = """\
Raw is a bare FastAPI route on uvicorn with uvloop and httptools, called by httpx with a connection
that is kept. Requests per second come from another process with 16 connections."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """The stack ends what the stage starts."""
        self.settings = settings
        self._stack = stack
        self._load: Child | None = None
        self._bare: int | None = None
        self._ours: ConnectionManager | None = None

    def facts(self) -> dict[str, str | int | float]:
        """Return what the numbers depend on, beside the machine."""
        return {
            "fastapi": fastapi.__version__,
            "uvicorn": uvicorn.__version__,
            "httpx": httpx.__version__,
        }

    def bare(self) -> int:
        """Return the port of the bare route."""
        if self._bare is None:
            child = self._stack.enter_context(python("web.bare"))
            self._bare = int(child.hear())
            _wait_for(f"http://127.0.0.1:{self._bare}/docs")
        return self._bare

    def ours(self) -> ConnectionManager:
        """Return a client of the echo service."""
        if self._ours is None:
            self._ours = self._stack.enter_context(EchoService.launch(host="127.0.0.1", port=0))
        return self._ours

    def load(self, port: int, path: str, count: int) -> float:
        """Return the seconds that so many calls take."""
        if self._load is None:
            self._load = self._stack.enter_context(python("web.load"))
        self._load.say(f"{port} {path} {count}")
        return float(self._load.hear())


def launch(stage: WebStage) -> Iterator[Row]:
    """Launch the echo service, beside importing what it is served with."""

    def ours() -> float:
        began = perf_counter()
        manager = EchoService.launch(host="127.0.0.1", port=0, progress_bar=False)
        took = perf_counter() - began
        manager.shutdown()
        return took

    def imports() -> float:
        command = [sys.executable, "-c", "import fastapi, uvicorn"]
        began = perf_counter()
        subprocess.run(command, cwd=ROOT, check=True)
        return perf_counter() - began

    mine, theirs = take_turns((ours, imports), _do, stage.settings.rounds)
    yield durations(
        "launch of EchoService, until it returns", mine, theirs, "the imports", "s", 2.5
    )


def call(stage: WebStage) -> Iterator[Row]:
    """Call one endpoint again and again, beside a post with httpx to the bare route."""
    manager, count = stage.ours(), stage.settings.count
    url = f"http://127.0.0.1:{stage.bare()}/echo"
    with httpx.Client() as client:

        def ours() -> float:
            return _mean(lambda: manager.echo(message=MESSAGE), count)  # type: ignore[attr-defined]

        def raw() -> float:
            return _mean(lambda: client.post(url, json={"message": MESSAGE}).json(), count)

        mine, theirs = take_turns((ours, raw), _do, stage.settings.rounds)
    yield durations("one echo() after the other, each", mine, theirs, "raw", "ms", 1.3)


def requests(stage: WebStage) -> Iterator[Row]:
    """Serve under load, beside the bare route."""
    count = stage.settings.count
    ours, bare = _port(stage.ours()), stage.bare()
    mine, theirs = take_turns(
        (ours, bare), lambda port: stage.load(port, "/echo", count), stage.settings.rounds
    )
    yield rates("requests, 16 connections", count, mine, theirs, who="raw", bar=0.8)


def gateway(stage: WebStage) -> Iterator[Row]:
    """Go through a gateway, beside calling directly."""
    count = stage.settings.count
    direct = _port(stage.ours())
    with Gateway.launch(host="127.0.0.1", port=0, progress_bar=False) as front:
        front.register_app("echo", str(stage.ours().url))
        ways = ((_port(front), "/echo/echo"), (direct, "/echo"))
        mine, theirs = take_turns(ways, lambda way: stage.load(*way, count), stage.settings.rounds)
    row = rates("requests through the gateway", count, mine, theirs, who="direct", bar=0.4)
    yield row


def shutdown(stage: WebStage) -> Iterator[Row]:
    """End an idle service, until its port is free."""
    took: list[float] = []
    for _ in range(stage.settings.takeovers + 1):
        manager = EchoService.launch(host="127.0.0.1", port=0, progress_bar=False)
        manager.echo(message=MESSAGE)
        began = perf_counter()
        manager.shutdown(block=True)
        took.append(perf_counter() - began)
    yield Row(
        measure=f"shutdown of an idle service, slowest of {len(took)}",
        ours=Figure(max(took), "s"),
        who="the median is",
        against=Figure(median(took), "s"),
        bar=Bar("<=", Figure(0.5, "s")),
    )


MEASURES: dict[str, Callable[[WebStage], Iterator[Row]]] = {
    "launch": launch,
    "call": call,
    "requests": requests,
    "gateway": gateway,
    "shutdown": shutdown,
}


def _do(work: Callable[[], float]) -> float:
    return work()


def _mean(work: Callable[[], object], count: int) -> float:
    began = perf_counter()
    for _ in range(count):
        work()
    return (perf_counter() - began) / count


def _port(manager: ConnectionManager) -> int:
    port = manager.url.port
    assert port is not None
    return port


def _wait_for(url: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
        client.get(url).raise_for_status()
