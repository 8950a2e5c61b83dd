"""What several tests of services share: waiting, raw HTTP, and a service with something of each."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar

import pytest
from fastapi import HTTPException
from pydantic import BaseModel, SecretStr, field_validator

from mindtrace.core import SystemClock, TaskSchema
from mindtrace.services import Service, endpoint
from mindtrace.services.request_id import request_id
from mindtrace.services.urls import bare_host, port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pydantic import HttpUrl

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds after which what did not happen is not waited for any more."""


def eventually(condition: Callable[[], T], within: float = DEADLINE) -> T:
    """Return what the condition gives as soon as it is true."""
    end = monotonic() + within
    while not (found := condition()):
        assert monotonic() < end, f"not within {within:g} s; found {found!r}"
        SystemClock().sleep(0.01)
    return found


@contextmanager
def environment(**variables: str) -> Generator[None]:
    """Set variables of the environment for a while, as a user does before starting a program."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def launched(
    service: type[Service], variables: dict[str, str] | None = None, /, **options: Any
) -> Generator[Any]:
    """Launch a service on a free port, and end it in the end, however it went.

    The variables are set for the launch: the service and its client have them, others do not.
    """
    options = {"port": 0, "progress_bar": False, **options}
    with environment(**(variables or {})):
        manager = service.launch(**options)
    try:
        yield manager
    finally:
        child = manager._child
        child.end(10.0)
        manager.close()


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """A connection that sends exactly what it is told to."""

    def __init__(self, url: HttpUrl | str, host: str | None = None) -> None:
        from pydantic import HttpUrl  # noqa: PLC0415 - a name of its own above

        parsed = HttpUrl(str(url))
        self.socket = socket.create_connection((host or bare_host(parsed), port_of(parsed)), 60)
        self.name = f"localhost:{port_of(parsed)}"
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *lines: str | bytes, body: bytes = b"") -> None:
        """Send lines of a head, and a body."""
        head = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
        self.socket.sendall(b"\r\n".join([*head, b""]) + body)

    def ask(self, line: str, *headers: str | bytes, body: bytes = b"", host: str = "") -> Answer:
        """Send a request with a Host header, and return the answer."""
        length = [f"Content-Length: {len(body)}"] if body else []
        self.send(
            f"{line} HTTP/1.1", f"Host: {host or self.name}", *headers, *length, b"", body=body
        )
        return self.answer()

    def answer(self) -> Answer:
        """Read one answer with a length."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return Answer(int(first.split()[1]), headers, body)

    def _more(self) -> None:
        part = self.socket.recv(65536)
        assert part, f"the connection was closed after {self._rest!r}"
        self._rest += part


def ok(content: object, *headers: str) -> bytes:
    """Return an answer with JSON in it, as it lies on the wire."""
    body = json.dumps(content).encode()
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Peer:
    """A server that counts, and answers what it is told to; with None it cuts the connection."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        for each in self.connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while line := stream.readline():
                headers: dict[str, str] = {}
                while header := stream.readline().strip():
                    name, _, value = header.decode().partition(": ")
                    headers[name.lower()] = value
                body = stream.read(int(headers.get("content-length", "0")))
                self.requests.append((line.decode().strip(), headers, body))
                answer = self._answer(len(self.requests))
                if answer is None:
                    return
                connection.sendall(answer)


class Pair(BaseModel):
    """What goes in."""

    a: float = 0
    b: float = 0


class Sum(BaseModel):
    """What comes out."""

    total: float


class Search(BaseModel):
    """What a query string may carry."""

    word: str
    tags: list[str] = []
    limit: int | None = None
    exact: bool = False


class Found(BaseModel):
    """What a search saw."""

    word: str
    tags: list[str]
    limit: int | None
    exact: bool


class Failing(BaseModel):
    """How to fail."""

    how: Literal[
        "value", "exit", "interrupt", "cancelled", "generator", "http", "http_dict", "empty",
        "silent", "surrogate", "nan", "output", "unauthorized",
    ]  # fmt: skip


class Where(BaseModel):
    """Where a handler ran, and for which request."""

    thread: str
    request_id: str


class Login(BaseModel):
    """Something with a secret."""

    user: str
    password: SecretStr

    @field_validator("password")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 4:
            message = "too short"
            raise ValueError(message)
        return value


class Seen(BaseModel):
    """What a handler saw of a secret."""

    characters: list[str]


class Relay(BaseModel):
    """Whom to ask."""

    url: str


class Slow(BaseModel):
    """An input with a field that is called like an option of each call."""

    timeout: float
    validate_input: str = "none"


class Held(BaseModel):
    """How many handlers are at it."""

    now: int
    most: int


class _Silent(Exception):  # noqa: N818 - it is nobody's error
    def __str__(self) -> str:
        raise RuntimeError


def _fail(how: str) -> Any:
    errors: dict[str, BaseException] = {
        "value": ValueError("it is wrong"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "cancelled": asyncio.CancelledError(),
        "generator": GeneratorExit(),
        "http": HTTPException(409, "taken already"),
        "http_dict": HTTPException(409, {"owner": "somebody"}),
        "empty": HTTPException(204),
        "unauthorized": HTTPException(401, "not you", {"WWW-Authenticate": "Bearer"}),
        "silent": _Silent(),
        "surrogate": ValueError("half a character: \ud800"),
    }
    if how in errors:
        raise errors[how]
    return {"total": float("nan")} if how == "nan" else {"sum": "a secret answer"}


class EachService(Service):
    """Has an endpoint of each kind."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._now = self._most = 0
        self._mutex = threading.Lock()
        self._released = threading.Event()
        self.add_endpoint("/ping", self.ping)
        self.add_endpoint("/jobs/list/all", lambda: {"jobs": ["one"]})
        self.add_endpoint("/anything", self.anything, TaskSchema(name="anything"))
        self.add_endpoint("/made", self.made, api_route_kwargs={"status_code": 201})

    @endpoint("/add")
    def add(self, pair: Pair) -> Sum:
        """Add, in a thread."""
        return Sum(total=pair.a + pair.b)

    @endpoint("/add_on_the_loop")
    async def add_async(self, pair: Pair) -> Sum:
        """Add, on the loop."""
        return Sum(total=pair.a + pair.b)

    @endpoint("/put", methods=["PUT"])
    def put(self, pair: Pair) -> Sum:
        """Add what is put."""
        return Sum(total=pair.a + pair.b)

    @endpoint("/find", methods=["GET"])
    def find(self, search: Search) -> Found:
        """Return what was asked for."""
        return Found(**search.model_dump())

    @endpoint("/remove", methods=["DELETE"])
    def remove(self, search: Search) -> Found:
        """Return what was to be removed."""
        return Found(**search.model_dump())

    @endpoint("/fail")
    def fail(self, failing: Failing) -> Sum:
        """Fail in a thread."""
        return _fail(failing.how)  # type: ignore[no-any-return]

    @endpoint("/fail_on_the_loop")
    async def fail_async(self, failing: Failing) -> Sum:
        """Fail on the loop."""
        return _fail(failing.how)  # type: ignore[no-any-return]

    @endpoint("/where")
    def where(self) -> Where:
        """Say where a plain handler runs, in the log as well."""
        self.logger.warning("handled in a thread")
        return Where(thread=threading.current_thread().name, request_id=request_id.get())

    @endpoint("/where_on_the_loop")
    async def where_async(self) -> Where:
        """Say where an async handler runs, in the log as well."""
        self.logger.warning("handled on the loop")
        return Where(thread=threading.current_thread().name, request_id=request_id.get())

    @endpoint("/relay")
    def relay(self, relay: Relay) -> Where:
        """Ask another service where it runs."""
        with EachService.client_class()(relay.url).only_talking() as other:
            return other.where()  # type: ignore[no-any-return, attr-defined]

    @endpoint("/relay_on_the_loop")
    async def relay_async(self, relay: Relay) -> Where:
        """Ask another service where it runs, from a loop."""
        async with EachService.client_class()(relay.url).only_talking() as other:
            return await other.awhere()  # type: ignore[no-any-return, attr-defined]

    @endpoint("/login")
    def login(self, login: Login) -> Seen:
        """Take a secret apart, so that a test sees it."""
        return Seen(characters=list(login.password.get_secret_value()))

    @endpoint("/slow")
    def slow(self, slow: Slow) -> Slow:
        """Return what came."""
        return slow

    @endpoint("/hold")
    def hold(self) -> None:
        """Stay until released."""
        with self._mutex:
            self._now += 1
            self._most = max(self._now, self._most)
        self._released.wait(DEADLINE)
        with self._mutex:
            self._now -= 1

    @endpoint("/held")
    async def held(self) -> Held:
        """Say how many are at it."""
        return Held(now=self._now, most=self._most)

    @endpoint("/release")
    async def release(self) -> None:
        """Let those go."""
        self._released.set()

    @endpoint("/for_admins", scope="admin")
    def for_admins(self) -> None:
        """Do what only administrators may."""

    @endpoint("/for_all", scope="open")
    def for_all(self) -> None:
        """Do what everybody may."""

    def ping(self) -> None:
        """Do nothing."""

    async def anything(self, payload: Any) -> Any:
        """Return what came, whatever it is."""
        return payload

    def made(self) -> dict[str, int]:
        """Answer with a status of its own."""
        return {"process": os.getpid()}
