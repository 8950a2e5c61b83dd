"""What keeps a broker from being used is one clear sentence, without secrets and without noise."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pika import exceptions
from rabbitmq_support import (
    HOST,
    Listener,
    certificate_in,
    encrypting,
    http,
    job,
    mute,
    put,
    run_python,
    take,
)

from mindtrace.jobs import BackendUnavailableError, RabbitMQClient
from mindtrace.jobs.loading import backend_from_args
from mindtrace.jobs_rabbitmq import address as addresses
from mindtrace.jobs_rabbitmq.address import Address
from mindtrace.jobs_rabbitmq.store import RabbitMQStore
from mindtrace.jobs_rabbitmq.trouble import translated

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from mindtrace.jobs_rabbitmq.connection import Connection

pytestmark = pytest.mark.rabbitmq

SECRET = "s3cret-and-long"


def complaint(client: RabbitMQClient) -> BackendUnavailableError:
    """Use a broker that cannot be used; return what is said."""
    with client, pytest.raises(BackendUnavailableError) as caught:
        client.count_queue_messages("tasks")
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__
    assert str(caught.value).startswith("The rabbitmq backend at ")
    return caught.value


def test_a_wrong_password(rabbitmq_url: str) -> None:
    found = complaint(RabbitMQClient(url=rabbitmq_url, password=SECRET))

    assert "refused the user or the password; check username= and password=" in found.reason
    assert not found.transient


def test_a_wrong_user(rabbitmq_url: str) -> None:
    found = complaint(RabbitMQClient(url=rabbitmq_url, username="nobody-of-that-name"))

    assert "refused the user or the password" in found.reason
    assert "nobody" not in str(found)


def test_a_virtual_host_that_is_not_there(rabbitmq_url: str) -> None:
    found = complaint(RabbitMQClient(url=rabbitmq_url, vhost="nowhere"))

    assert "virtual host does not exist, or this user may not use it; check vhost=" in found.reason
    assert found.address.endswith("/nowhere")
    assert not found.transient


def test_a_port_where_nothing_listens() -> None:
    found = complaint(RabbitMQClient(HOST, 1, password=SECRET))

    assert found.reason == "connection refused; check that it runs there"
    assert found.address == "127.0.0.1:1"
    assert found.transient


def test_a_host_that_nobody_knows() -> None:
    found = complaint(RabbitMQClient("no-such-host.invalid", password=SECRET))

    assert found.reason == "its name is not known; check host="
    assert found.transient


def test_a_port_that_speaks_something_else() -> None:
    with Listener(http) as server:
        found = complaint(RabbitMQClient(HOST, server.port, password=SECRET))

    assert "does not speak AMQP as it should; check the port" in found.reason


def test_a_port_that_hangs_up_at_once() -> None:
    with Listener(lambda _: None) as server:
        found = complaint(RabbitMQClient(HOST, server.port, password=SECRET))

    assert found.transient


def test_a_port_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "OPEN_WITHIN", 0.3)
    with Listener(mute) as server:
        plain = complaint(RabbitMQClient(HOST, server.port, password=SECRET))
        encrypted = complaint(RabbitMQClient(HOST, server.port, ssl=True))

    assert "check" in plain.reason
    assert "the port" in plain.reason
    assert "did not answer in time" in encrypted.reason


def test_a_broker_that_is_no_amqp_0_9_1() -> None:
    def another_version(found: socket.socket) -> None:
        found.recv(8)
        found.sendall(b"AMQP\x00\x01\x00\x00")

    with Listener(another_version) as server:
        found = complaint(RabbitMQClient(HOST, server.port))

    assert "does not speak AMQP as it should" in found.reason


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for this machine that vouches for itself, and its key."""
    return certificate_in(tmp_path)


@pytest.fixture
def tls_port(rabbitmq_url: str, certificate: tuple[Path, Path]) -> Iterator[int]:
    """A port that speaks TLS for the broker."""
    with Listener(encrypting(*certificate, urlsplit(rabbitmq_url).port or 5672)) as proxy:
        yield proxy.port


def encrypted(rabbitmq_url: str, port: int, query: str) -> str:
    parts = urlsplit(rabbitmq_url)
    return f"amqps://{parts.username}:{parts.password}@localhost:{port}{parts.path}?{query}"


def carries_jobs(client: RabbitMQClient) -> None:
    with client:
        client.declare_queue("tasks")
        put(client, "tasks", job("1"), job("2"))
        assert [each.id for each in take(client, "tasks", 2)] == ["1", "2"]


def test_jobs_travel_encrypted(
    rabbitmq_url: str, namespace: str, tls_port: int, certificate: tuple[Path, Path]
) -> None:
    query = f"cafile={certificate[0]}&namespace={namespace}"
    client = RabbitMQClient.from_url(encrypted(rabbitmq_url, tls_port, query))

    again = backend_from_args(client.consumer_backend_args)
    carries_jobs(client)

    assert isinstance(again, RabbitMQClient)
    with again:
        assert again.queue_stats("tasks").ready == 2


def test_a_context_of_ones_own_says_in_detail_what_is_trusted(
    rabbitmq_url: str, namespace: str, tls_port: int, certificate: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(cafile=certificate[0])

    carries_jobs(
        RabbitMQClient("localhost", tls_port, url=rabbitmq_url, ssl=context, namespace=namespace)
    )


def test_any_certificate_is_trusted_on_request(
    rabbitmq_url: str, namespace: str, tls_port: int
) -> None:
    query = f"verify=no&namespace={namespace}"

    carries_jobs(RabbitMQClient.from_url(encrypted(rabbitmq_url, tls_port, query)))


def test_a_certificate_that_nobody_vouches_for(rabbitmq_url: str, tls_port: int) -> None:
    found = complaint(RabbitMQClient.from_url(encrypted(rabbitmq_url, tls_port, "")))

    assert found.reason.startswith("its certificate is not trusted; check cafile")
    assert not found.transient


def test_a_certificate_for_another_name(rabbitmq_url: str, tmp_path: Path) -> None:
    files = certificate_in(tmp_path, "DNS:elsewhere")
    with Listener(encrypting(*files, urlsplit(rabbitmq_url).port or 5672)) as proxy:
        url = encrypted(rabbitmq_url, proxy.port, f"cafile={files[0]}")

        found = complaint(RabbitMQClient.from_url(url))

    assert "check cafile and the name in the certificate" in found.reason


def test_tls_with_a_port_that_does_not_speak_it(rabbitmq_url: str) -> None:
    found = complaint(RabbitMQClient(url=rabbitmq_url, ssl=True))

    assert found.reason == "TLS failed; check the port, and amqps:// against amqp://"


def test_no_tls_with_a_port_that_wants_it(rabbitmq_url: str, tls_port: int) -> None:
    found = complaint(RabbitMQClient(port=tls_port, url=rabbitmq_url))

    assert "check" in found.reason


@pytest.mark.parametrize("option", ["cafile", "certfile"])
def test_files_that_are_missing(option: str) -> None:
    found = complaint(RabbitMQClient.from_url(f"amqps://localhost?{option}=/nowhere"))

    assert "TLS files cannot be used (No such file or directory); check cafile" in found.reason
    assert not found.transient


def test_a_key_with_a_password_asks_nobody(certificate: tuple[Path, Path]) -> None:
    locked = certificate[1].with_name("locked.pem")
    command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", str(certificate[1])]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    query = f"certfile={certificate[0]}&keyfile={locked}"

    found = complaint(RabbitMQClient.from_url(f"amqps://localhost?{query}"))

    assert "TLS files cannot be used" in found.reason


# in silence

QUIET = """
import sys
from mindtrace.jobs import BackendUnavailableError, RabbitMQClient
for url in sys.argv[1:]:
    try:
        RabbitMQClient.from_url(url).count_queue_messages("tasks")
    except BackendUnavailableError as error:
        print(type(error.__cause__ or error).__name__)
"""


@pytest.mark.process
def test_nothing_is_said_on_stderr_where_logging_is_not_configured(rabbitmq_url: str) -> None:
    parts = urlsplit(rabbitmq_url)
    place = f"{parts.hostname}:{parts.port}"
    with Listener(http) as server:
        said, complaints = run_python(
            QUIET,
            f"amqp://guest:{SECRET}@{place}/",
            f"amqp://{parts.username}:{parts.password}@{place}/nowhere",
            f"amqp://{HOST}:1",
            "amqp://no-such-host.invalid",
            f"amqp://{HOST}:{server.port}",
            f"amqps://{place}",
        )

    assert len(said.splitlines()) == 6
    assert complaints == ""


# heartbeats


def test_the_heartbeat_is_the_one_that_was_asked_for(rabbitmq_url: str, namespace: str) -> None:
    with RabbitMQClient(url=rabbitmq_url, namespace=namespace, heartbeat=7) as client:
        assert isinstance(client.store, RabbitMQStore)

        async def agreed(connection: Connection) -> float:
            parameters: Any = connection.params
            seconds: float = parameters.heartbeat
            return seconds

        assert client.store.publishing.call(agreed) == 7


# what is not easily brought about


@pytest.mark.parametrize(
    ("error", "words", "transient"),
    [
        (exceptions.AMQPHeartbeatTimeout(), "no sign of life came for two heartbeats", True),
        (exceptions.StreamLostError("x"), "the connection was lost", True),
        (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "CONNECTION_FORCED", True),
        (exceptions.ChannelClosedByBroker(403, "ACCESS_REFUSED"), "ACCESS_REFUSED", False),
        (exceptions.ChannelClosedByBroker(541, "INTERNAL_ERROR"), "INTERNAL_ERROR", True),
        (exceptions.AMQPConnectionError(), "the connection was lost", True),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer", True),
    ],
    ids=repr,
)
def test_each_native_error_has_its_words(error: Exception, words: str, transient: bool) -> None:
    found = translated(error, Address())

    assert words in found.reason
    assert found.transient is transient
