import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from queue import SimpleQueue

import pytest

from mindtrace.core import (
    ManualClock,
    NetworkError,
    NoFreePortError,
    PortInUseError,
    ServiceTimeoutError,
    check_port_available,
    get_free_port,
    get_free_ports,
    get_local_ip,
    is_port_available,
    wait_for_service,
)

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def unused_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def test_a_port_in_use_is_not_available(taken: int) -> None:
    assert not is_port_available(HOST, taken)
    assert not is_port_available("localhost", taken)


def test_a_port_nobody_uses_is_available() -> None:
    port = unused_port()

    assert is_port_available(HOST, port)
    check_port_available(HOST, port)


def test_a_port_is_still_free_after_it_was_looked_at() -> None:
    port = unused_port()

    assert is_port_available(HOST, port)

    with socket.create_server((HOST, port)) as server:
        assert server.getsockname()[1] == port


def test_checking_a_port_in_use_says_so(taken: int) -> None:
    with pytest.raises(PortInUseError, match=f"{HOST}:{taken} cannot be used") as caught:
        check_port_available(HOST, taken)

    assert (caught.value.host, caught.value.port) == (HOST, taken)


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
def test_a_port_taken_on_one_address_only_is_judged_by_address() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        port = server.getsockname()[1]

        assert not is_port_available("::1", port)


def test_a_host_that_does_not_resolve_is_named() -> None:
    with pytest.raises(NetworkError, match=r"does-not-exist\.invalid:80 .* does not resolve"):
        is_port_available("does-not-exist.invalid", 80)


def test_a_host_name_that_is_malformed_is_named() -> None:
    with pytest.raises(NetworkError, match="does not resolve"):
        is_port_available("a" * 64 + ".invalid", 80)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.1:8000 .* no address of this machine"):
        is_port_available("192.0.2.1", 8000)


def test_an_address_that_cannot_be_listened_on_is_refused() -> None:
    with pytest.raises(NetworkError, match="fe80::1:8000 cannot be used"):
        is_port_available("fe80::1", 8000)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(NetworkError, match="a port is a number from 0 to 65535"):
        is_port_available(HOST, port)


def test_the_lowest_free_port_of_a_range_is_found(taken: int) -> None:
    port = get_free_port(HOST, taken, taken + 50)

    assert taken < port <= taken + 50


def test_both_ends_of_a_range_belong_to_it() -> None:
    port = unused_port()

    assert get_free_port(HOST, port, port) == port


def test_several_ports_are_found_in_order() -> None:
    ports = get_free_ports(HOST, 20000, 21000, ports_to_find=3)

    assert ports == sorted(set(ports))
    assert len(ports) == 3
    assert get_free_ports(HOST, 20000, 21000, ports_to_find=0) == []


def test_a_range_without_enough_ports_says_how_many_were_wanted(taken: int) -> None:
    with pytest.raises(NoFreePortError, match="fewer than 1 of these ports are free"):
        get_free_port(HOST, taken, taken)
    with pytest.raises(NoFreePortError, match="fewer than 2"):
        get_free_ports(HOST, 20000, 20000, ports_to_find=2)


def test_a_running_service_is_found_at_once(taken: int) -> None:
    clock = ManualClock()

    wait_for_service(HOST, taken, clock=clock)

    assert clock.monotonic() == 0


def test_a_service_that_starts_later_is_waited_for() -> None:
    port = unused_port()
    tried: SimpleQueue[None] = SimpleQueue()
    listening = threading.Event()

    class TellingClock(ManualClock):
        def sleep(self, seconds: float) -> None:
            tried.put(None)
            assert listening.wait(10)
            super().sleep(seconds)

    clock = TellingClock()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_service, HOST, port, 60, clock=clock)
        tried.get(timeout=10)
        with socket.create_server((HOST, port)):
            listening.set()
            waiting.result(10)

    assert 0 < clock.monotonic() < 60


def test_waiting_ends_at_the_deadline() -> None:
    clock = ManualClock()
    port = unused_port()

    with pytest.raises(ServiceTimeoutError, match=r"nothing answered within 2\.5 sec") as caught:
        wait_for_service(HOST, port, 2.5, retry_delay=1, clock=clock)

    assert clock.monotonic() == 2.5
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_no_time_is_one_attempt(taken: int) -> None:
    wait_for_service(HOST, taken, timeout=0)

    with pytest.raises(ServiceTimeoutError):
        wait_for_service(HOST, unused_port(), timeout=0)


def test_the_address_of_this_machine_depends_on_who_asks() -> None:
    assert get_local_ip(toward=HOST) == HOST
    assert ip_address(get_local_ip()).version == 4


def test_without_a_route_the_address_is_the_machine_itself() -> None:
    assert get_local_ip(toward="no address") == "127.0.0.1"
