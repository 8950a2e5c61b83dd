from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from services_support import EachService, Login, Pair, Sum

from mindtrace.services import (
    ConnectionManager,
    Service,
    endpoint,
    generate_connection_manager,
    register_connection_manager,
)
from mindtrace.services.stubs import typed_client

if TYPE_CHECKING:
    from pathlib import Path


def signature(name: str) -> str:
    method = inspect.signature(getattr(generate_connection_manager(EachService), name))
    return ", ".join(str(each).partition(":")[0] for each in method.parameters.values())


def test_a_client_is_named_after_its_service_and_made_once() -> None:
    made = generate_connection_manager(EachService)

    assert made is generate_connection_manager(EachService)
    assert made.__name__ == "EachServiceConnectionManager"
    assert issubclass(made, ConnectionManager)
    assert EachService.client_class() is made


def test_each_endpoint_has_a_method_and_an_async_one_that_say_how_they_are_called() -> None:
    made: Any = generate_connection_manager(EachService)

    for name in EachService().endpoints:
        assert callable(getattr(made, name))
        assert inspect.iscoroutinefunction(getattr(made, f"a{name}"))
    assert made.add.__doc__ == "Add, in a thread."
    assert made.aadd.__name__ == "aadd"
    options = "timeout, validate_input, validate_output"
    assert signature("add") == f"self, a, b, {options}"
    assert signature("ping") == f"self, {options}"
    assert signature("slow") == "self, timeout, validate_input, validate_output"
    assert inspect.signature(made.add).return_annotation is Sum


def test_status_and_shutdown_are_those_of_every_client() -> None:
    made = generate_connection_manager(EachService)

    assert made.status is ConnectionManager.status
    assert made.ashutdown is ConnectionManager.ashutdown


class Needy(Service):
    def __init__(self, needed: int) -> None:
        super().__init__()


def test_a_service_that_cannot_be_made_without_arguments_is_told_why_it_should() -> None:
    with pytest.raises(TypeError, match=r"Needy has to be made without arguments .*needed"):
        generate_connection_manager(Needy)


def test_a_client_of_ones_own_is_used_for_the_class_and_its_subclasses() -> None:
    class First(Service):
        @endpoint("/add")
        def add(self, pair: Pair) -> Sum:
            raise NotImplementedError

    class Second(First):
        pass

    @First.register_connection_manager
    class Own(generate_connection_manager(First)):  # type: ignore[misc]
        def both(self) -> int:
            return 2

    assert First.client_class() is Own
    assert Second.client_class() is Own
    assert EachService.client_class() is not Own
    assert Own().both() == 2
    assert Own().table["add"].path == "/add"

    @register_connection_manager(ConnectionManager)
    class Third(First):
        pass

    assert Third.client_class() is ConnectionManager
    assert First.client_class() is Own


# typed clients


class Kinds(BaseModel):
    """Types of several sorts."""

    several: dict[str, list[tuple[int, ...]]]
    word: str
    login: Login
    timeout: float
    optional: int | None = None


class KindsService(Service):
    @endpoint("/kinds")
    def kinds(self, kinds: Kinds) -> Kinds:
        return kinds

    @endpoint("/anything")
    def anything(self, payload: Any) -> dict[str, int]:
        raise NotImplementedError


def test_every_sort_of_type_is_written_down() -> None:
    text = typed_client(KindsService)
    module = Kinds.__module__

    assert (
        "def kinds(self, *, several: dict[str, list[tuple[int, ...]]], word: str, "
        "login: services_support.Login, timeout: float, optional: int | None = ...) "
        f"-> {module}.Kinds: ..."
    ) in text
    assert f"def kinds(self, payload: {module}.Kinds, /) -> {module}.Kinds: ..." in text
    assert "def anything(self, payload: Any, /, *, timeout: float = ...) -> Any: ..." in text
    assert "def anything(self, *, timeout: float = ..., **values: Any) -> Any: ..." in text
    assert f"import {module}\n" in text
    compile(text, "client.py", "exec")


USES = """
from echo_client import EchoServiceConnectionManager
from mindtrace.services.samples.echo_service import EchoInput, EchoOutput, EchoService


def right(client: EchoServiceConnectionManager) -> EchoOutput:
    client.echo(EchoInput(message="x"), timeout=1)
    reveal_type(client.echo(message="x", delay=1.0, timeout=5))
    reveal_type(client.heartbeat().heartbeat.status)
    return client.echo(message="x")


async def right_too(client: EchoServiceConnectionManager) -> None:
    reveal_type(await client.aecho(message="x"))


launched: EchoServiceConnectionManager = EchoService.launch(port=0)
connected = EchoServiceConnectionManager("http://localhost:1")
"""
WRONG = ["client.echo(massage='x')", "client.echo(message=1)", "client.echo()", "client.eco()"]
AT_RUN_TIME = """
from echo_client import EchoServiceConnectionManager
from mindtrace.services.samples.echo_service import EchoService
assert EchoServiceConnectionManager is EchoService.client_class()
assert callable(EchoServiceConnectionManager("http://localhost:1").echo)
"""


def stubs(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mindtrace.services.stubs", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.process
def test_a_written_client_tells_checkers_what_the_service_takes(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    target = "mindtrace.services.samples.echo_service:EchoService"
    assert stubs(target, "-o", str(tmp_path / "echo_client.py")).returncode == 0
    lines = [f"    {line}" for line in WRONG]
    wrong = ["def wrong(client: EchoServiceConnectionManager) -> None:", *lines]
    (tmp_path / "uses.py").write_text(USES + "\n".join(wrong), encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="ascii")

    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    said = [line for line in done.stdout.splitlines() if "uses.py:" in line]
    last = len(USES.splitlines()) + 1
    informed = [line for line in said if "information" in line]
    assert ["EchoOutput" in line or "ServerStatus" in line for line in informed] == [True] * 3
    errors = {int(line.split(":")[1]) for line in said if "error" in line}
    assert errors == {last + number for number in range(1, len(WRONG) + 1)}, done.stdout
    assert "echo_client.py:" not in done.stdout


@pytest.mark.process
def test_a_written_client_is_the_generated_one_at_run_time(tmp_path: Path) -> None:
    target = "mindtrace.services.samples.echo_service:EchoService"
    written = stubs(target)
    (tmp_path / "echo_client.py").write_text(written.stdout, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_RUN_TIME],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (written.returncode, written.stderr) == (0, "")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nowhere:Service", "is no package.module:Service"),
        ("mindtrace.services:Nothing", "is no package.module:Service"),
        ("mindtrace.services", "is no package.module:Service"),
        ("mindtrace.services:ServerStatus", "is no Service class"),
    ],
)
def test_what_is_no_service_is_named_in_one_line(target: str, reason: str) -> None:
    done = stubs(target)

    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
