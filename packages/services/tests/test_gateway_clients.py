from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from gateway_support import OddApp, free_port
from services_support import Pair, environment, launched

from mindtrace.core import TaskSchema
from mindtrace.services import (
    ConnectionManager,
    Gateway,
    ProxyConnectionManager,
    RequestInvalidError,
    ServerStatus,
    Service,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    endpoint,
    generate_connection_manager,
)
from mindtrace.services.gateway.types import AppConfig
from mindtrace.services.samples.echo_service import EchoInput, EchoOutput, EchoService
from mindtrace.services.types import StatusOutput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process


@pytest.fixture(scope="module", autouse=True)
def _root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(tmp_path_factory.mktemp("root"))):
        yield


@pytest.fixture(scope="module")
def echo() -> Iterator[Any]:
    with launched(EchoService) as manager:
        yield manager


@pytest.fixture(scope="module")
def front() -> Iterator[Any]:
    with launched(Gateway) as manager:
        yield manager


@pytest.fixture
def gateway(front: Any) -> Iterator[Any]:
    with Gateway.connect(front.url).only_talking() as manager:
        yield manager


def test_an_app_with_a_connection_manager_is_called_through_the_gateway(
    gateway: Any, echo: Any
) -> None:
    assert gateway.register_app("echo", echo.url, echo) is None

    assert isinstance(gateway.echo, ProxyConnectionManager)
    assert gateway.echo.echo(message="hello") == EchoOutput(echoed="hello")
    assert gateway.echo.echo(EchoInput(message="hello")).echoed == "hello"
    assert gateway.echo.status() == StatusOutput(status=ServerStatus.AVAILABLE)
    assert gateway.echo.heartbeat().heartbeat.server_id == echo.heartbeat().heartbeat.server_id
    assert gateway.registered_apps == ["echo"]


def test_the_forms_of_registering_do_the_same(gateway: Any, echo: Any) -> None:
    url = str(echo.url)
    gateway.register_app("one", url, echo)
    gateway.register_app(name="two", url=url, connection_manager=echo)
    gateway.register_app(AppConfig(name="three", url=url), connection_manager=echo)
    gateway.register_app("four", url, connection_manager=echo, forward_auth=True, timeout=7)

    assert gateway.registered_apps == ["one", "two", "three", "four"]
    for name in gateway.registered_apps:
        assert getattr(gateway, name).echo(message=name).echoed == name


def test_each_thing_works_in_an_event_loop_as_well(gateway: Any, echo: Any) -> None:
    async def main() -> None:
        async with Gateway.connect(gateway.url).only_talking() as client:
            assert await client.aregister_app("later", echo.url, echo) is None
            assert (await client.later.aecho(message="hello")).echoed == "hello"
            assert (await client.later.astatus()).status is ServerStatus.AVAILABLE
            assert "later" in await client.alist_apps()
            await client.aunregister_app("later")
            assert "later" not in await client.aregistered_apps()
            assert client.registered_apps == []

    asyncio.run(main())


def test_an_app_that_is_unregistered_leaves_no_connection_in_an_event_loop(
    gateway: Any, echo: Any
) -> None:
    def connections() -> int:
        port = gateway.url.port
        found = psutil.Process().net_connections("tcp")
        return sum(
            bool(each.raddr) and each.raddr.port == port and each.status == "ESTABLISHED"
            for each in found
        )

    async def main() -> None:
        async with Gateway.connect(gateway.url).only_talking() as client:
            await client.aregister_app("later", echo.url, echo)
            kept = client.later
            await kept.aecho(message="hello")
            before = connections()
            await client.aunregister_app("later")
            assert connections() == before - 1

    asyncio.run(main())


def test_an_app_without_a_connection_manager_is_no_attribute(gateway: Any, echo: Any) -> None:
    gateway.register_app("plain", echo.url)

    assert gateway.registered_apps == []
    assert "plain" in gateway.list_apps()
    assert not hasattr(gateway, "plain")
    with pytest.raises(AttributeError, match="no app of that name was registered here"):
        _ = gateway.plain


def test_an_app_that_is_unregistered_is_no_attribute_any_more(gateway: Any, echo: Any) -> None:
    gateway.register_app("short", echo.url, echo)
    proxy = gateway.short
    assert "short" in dir(gateway)

    assert gateway.unregister_app("short") is None

    assert not hasattr(gateway, "short")
    assert gateway.registered_apps == []
    with pytest.raises(ServiceError, match="no app is registered under the name 'short'"):
        proxy.echo(message="hello")


@pytest.mark.parametrize("name", ["status", "url", "register_app", "close", "logger", "_url"])
def test_an_app_does_not_replace_what_a_client_has(gateway: Any, echo: Any, name: str) -> None:
    before = gateway.list_apps()

    with pytest.raises(ValueError, match=r"something else called|one word of a path"):
        gateway.register_app(name, echo.url, echo)

    assert gateway.list_apps() == before


def test_registering_takes_no_unknown_words(gateway: Any, echo: Any) -> None:
    with pytest.raises(TypeError, match="forward_authorization"):
        gateway.register_app("echo", echo.url, forward_authorization=True)
    with pytest.raises(ValueError, match="url"):
        gateway.register_app("echo")
    with pytest.raises(ValueError, match="not both"):
        gateway.register_app(AppConfig(name="echo", url="http://h"), "http://h")
    with pytest.raises(TypeError, match="expected the connection manager of a service"):
        ProxyConnectionManager(gateway.url, "echo", object())


def test_errors_of_an_app_are_those_without_a_gateway(gateway: Any, each: Any) -> None:
    gateway.register_app("each", each.url, each)

    for client in (each, gateway.each):
        with pytest.raises(ServiceError) as caught:
            client.fail(how="value")
        error = caught.value
        assert (error.status, error.remote_type) == (500, "ValueError")
        assert (error.remote_message, bool(error.request_id)) == ("it is wrong", True)
        with pytest.raises(RequestInvalidError) as invalid:
            client.add(a="x", validate_input=False)
        assert invalid.value.details[0]["loc"] == ["body", "a"]
    assert gateway.each.add(Pair(a=1, b=2)).total == 3
    assert gateway.each.find(word="x", tags=["a", "b"]).tags == ["a", "b"]
    assert gateway.each.put(a=1, b=1).total == 2


def test_an_app_that_is_away_is_unavailable(gateway: Any, echo: Any) -> None:
    gateway.register_app("away", f"http://127.0.0.1:{free_port()}", echo)

    with pytest.raises(ServiceUnavailableError, match="does not take connections"):
        gateway.away.echo(message="hello")
    with pytest.raises(ServiceUnavailableError):
        asyncio.run(gateway.away.aecho(message="hello"))
    assert gateway.away.status().status is ServerStatus.DOWN


def test_an_app_that_is_silent_is_late(gateway: Any, echo: Any) -> None:
    with OddApp() as odd:
        gateway.register_app("late", f"{odd.url}/silent?"[:-1], echo, timeout=0.3)
        odd.do_echo = odd.do_silent  # type: ignore[attr-defined]
        with pytest.raises(ServiceTimeoutError, match=r"within 0\.3 s"):
            gateway.late.echo(message="hello")


def test_shutting_down_through_the_gateway_ends_the_app_and_not_the_gateway(
    gateway: Any,
) -> None:
    with launched(EchoService) as echo:
        gateway.register_app("ending", echo.url, echo)
        assert gateway.ending.shutdown(block=True).shutdown is True
        assert gateway.ending.status().status is ServerStatus.DOWN
    assert gateway.status().status is ServerStatus.AVAILABLE


class Tally(Service):
    """Has a client of its own."""

    # with a schema: annotations are looked up by name, and this class is sent to its process whole
    @endpoint("/double", schema=TaskSchema(name="double", input_schema=Pair))
    def double(self, pair: Pair) -> dict[str, float]:
        """Double a number."""
        return {"doubled": 2 * pair.a}


class TallyManager(generate_connection_manager(Tally)):  # type: ignore[misc]  # made at run time
    """Does more than to call, and is made in a way of its own."""

    def __init__(self, url: Any) -> None:
        super().__init__(url)
        self.factor = 10

    def much(self, number: float) -> float:
        """Return more than double."""
        result: float = self.call(self.table["double"], Pair(a=number))["doubled"] * self.factor
        return result


Tally.register_connection_manager(TallyManager)


def test_a_client_of_ones_own_works_through_the_gateway_with_all_that_it_has(gateway: Any) -> None:
    with launched(Tally) as tally:
        gateway.register_app("tally", tally.url, tally)

        assert gateway.tally.much(2) == 40
        assert isinstance(gateway.tally, TallyManager)
        assert gateway.tally.factor == 10


def test_a_proxy_is_made_alone_as_well(gateway: Any, echo: Any) -> None:
    gateway.register_app("echo", echo.url)

    proxy = ProxyConnectionManager(str(gateway.url), "echo", echo)

    assert proxy.echo(message="hello").echoed == "hello"
    assert proxy.gateway_url == str(gateway.url).rstrip("/")
    assert (proxy.app_name, proxy.original_cm) == ("echo", echo)
    assert str(proxy.url) == f"{gateway.url}echo/"
    assert repr(proxy) == f"ProxyConnectionManager('{gateway.url}echo/')"
    proxy.close()


def test_a_gateway_behind_a_gateway_passes_on(gateway: Any, echo: Any) -> None:
    with launched(Gateway) as inner:
        inner.register_app("echo", echo.url, echo)
        gateway.register_app("inner", inner.url, inner)
        gateway.register_app("inner_echo", f"{inner.url}echo", inner.echo)

        assert gateway.inner.list_apps() == ["echo"]
        assert gateway.inner_echo.echo(message="hello").echoed == "hello"


class Control(Gateway):
    """A gateway with endpoints of its own, as a cluster's manager is."""

    @endpoint("/jobs")
    def jobs(self) -> dict[str, list[str]]:
        """Return all jobs."""
        return {"jobs": ["one"]}

    def startup(self) -> None:
        """Begin as a gateway does, and more."""
        super().startup()
        self.started = True


def test_a_subclass_has_its_own_methods_and_those_of_a_gateway(echo: Any) -> None:
    client_class = Control.client_class()
    assert client_class.__name__ == "ControlConnectionManager"
    assert issubclass(client_class, ConnectionManager)
    with launched(Control) as control:
        control.register_app(name="echo", url=str(echo.url), connection_manager=echo)

        assert control.jobs() == {"jobs": ["one"]}
        assert control.echo.echo(message="hello").echoed == "hello"
        assert {"register_app", "jobs", "status"} <= set(control.endpoints().endpoints)


def test_importing_the_package_loads_nothing_of_the_gateway(tmp_path: Path) -> None:
    script = (
        "import sys, mindtrace.services as s; assert not any('gateway' in each for each in "
        "sys.modules); s.Gateway, s.ProxyConnectionManager; assert 'fastapi' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
