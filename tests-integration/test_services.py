"""The servers that tests start for themselves, and the order in which a server is looked for."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pika
import psutil
import pytest

from mindtrace.jobs.testing.waiting import eventually
from tools.services.catalogue import RABBITMQ, REDIS, Service
from tools.services.certificate import make_certificate
from tools.services.ladder import Ladder, UnavailableError
from tools.services.probe import rabbitmq_answers, redis_answers
from tools.services.process import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.services.rabbitmq import RabbitMQServer
    from tools.services.redis import RedisServer

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
NOBODY_LISTENS = "redis://127.0.0.1:1/0"


@pytest.mark.redis
def test_a_redis_keeps_its_port_and_data_when_it_is_killed(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    url = server.url
    server.ctl("SET", "key", "value")

    server.kill()
    assert not redis_answers(url)
    server.start()

    assert server.url == url
    assert server.ctl("GET", "key") == "value"
    assert server.restart().ctl("GET", "key") == "value"


@pytest.mark.redis
def test_a_redis_asks_for_its_password(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(password="s3cret")

    assert redis_answers(server.url)
    assert not redis_answers(server.url.replace("s3cret", "guess"))
    assert not redis_answers(server.url.replace(":s3cret@", ""))


@pytest.mark.redis
def test_a_redis_takes_options_at_each_start(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(maxmemory="5mb")
    assert server.ctl("CONFIG", "GET", "maxmemory") == {"maxmemory": str(5 * 1024**2)}

    server.options["maxmemory"] = "6mb"
    server.restart()

    assert server.ctl("CONFIG", "GET", "maxmemory") == {"maxmemory": str(6 * 1024**2)}
    assert server.ctl("CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.redis
def test_a_redis_with_a_certificate_speaks_nothing_but_tls(
    own_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = own_redis(tls=make_certificate(tmp_path))

    assert server.url.startswith("rediss://")
    assert server.ctl("PING")
    assert not redis_answers(server.url)  # without trust in its certificate
    assert not redis_answers(server.url.replace("rediss", "redis"))


@pytest.mark.redis
def test_a_frozen_redis_answers_when_it_thaws(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.freeze()
    with socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(b"PING\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(7)
        server.thaw()
        client.settimeout(20)
        assert client.recv(7) == b"+PONG\r\n"


@pytest.mark.redis
def test_a_server_that_cannot_start_says_where_its_log_is(
    own_redis: Callable[..., RedisServer],
) -> None:
    with pytest.raises(ServerError, match=r"redis-server ended instead of serving; its log is /"):
        own_redis(maxmemory_policy="nonsense")


@pytest.mark.redis
def test_a_server_dies_with_the_process_that_started_it(
    own_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from tools.services.redis import RedisServer\n"
        "server = RedisServer(Path(sys.argv[1])).start()\n"
        "print(server.process.pid, flush=True); input()"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "data")]
    starter = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    with starter:
        pid = int(starter.stdout.readline())
        assert psutil.pid_exists(pid)
        starter.send_signal(signal.SIGKILL)

    eventually(lambda: not psutil.pid_exists(pid), within=20)


@pytest.mark.rabbitmq
def test_a_rabbitmq_keeps_its_port_and_messages_when_it_is_killed(
    own_rabbitmq: Callable[..., RabbitMQServer],
) -> None:
    server = own_rabbitmq()
    url = server.url
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("", "kept", b"message", pika.BasicProperties(delivery_mode=2))
    server.ctl("eval", "mnesia:dump_log().")  # a new queue is on disk some seconds later else

    server.kill()
    assert not rabbitmq_answers(url)
    server.start()
    assert server.url == url
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"message"


@pytest.mark.rabbitmq
def test_a_rabbitmq_takes_settings_users_and_a_certificate(
    own_rabbitmq: Callable[..., RabbitMQServer], tmp_path: Path
) -> None:
    made = make_certificate(tmp_path)
    server = own_rabbitmq(
        settings=["consumer_timeout = 61000"],
        advanced="[{rabbit, [{channel_tick_interval, 1000}]}].",
        tls=made,
    )
    server.add_user("ann", "her password")

    assert server.ctl("eval", "application:get_env(rabbit, consumer_timeout).") == "{ok,61000}\n"
    assert server.ctl("eval", "application:get_env(rabbit, channel_tick_interval).") == (
        "{ok,1000}\n"
    )
    assert rabbitmq_answers(server.url.replace("guest:guest", "ann:her%20password"))
    assert not rabbitmq_answers(server.url.replace("guest:guest", "ann:guess"))
    encrypted = pika.URLParameters(server.tls_url)
    trusting = ssl.create_default_context(cafile=str(made.certificate))
    encrypted.ssl_options = pika.SSLOptions(trusting, "localhost")
    pika.BlockingConnection(encrypted).close()


@pytest.mark.rabbitmq
def test_a_rabbitmq_raises_and_clears_a_memory_alarm(
    own_rabbitmq: Callable[..., RabbitMQServer],
) -> None:
    server = own_rabbitmq()

    server.raise_memory_alarm()
    eventually(lambda: "memory" in server.ctl("eval", "rabbit_alarm:get_alarms()."), within=20)

    server.clear_memory_alarm()
    eventually(lambda: server.ctl("eval", "rabbit_alarm:get_alarms().") == "[]\n", within=20)


@pytest.mark.rabbitmq
def test_a_stopped_rabbitmq_leaves_no_process(own_rabbitmq: Callable[..., RabbitMQServer]) -> None:
    server = own_rabbitmq()
    assert remains_of(server.folder)

    server.stop()

    # a helper of RabbitMQ's ends when it has noticed that the server did
    eventually(lambda: not remains_of(server.folder))


def remains_of(folder: Path) -> list[int]:
    """Name the processes that were told of a folder, or have it as their home."""
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in told):
            found.append(process.pid)
    return found


@pytest.mark.redis
def test_an_address_in_the_environment_comes_first(
    own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_redis(password="s3cret")
    monkeypatch.setenv(REDIS.variable, server.url)

    found = ladder().find(REDIS)

    assert found.url == server.url
    assert found.how == f"127.0.0.1:{server.port}, from {REDIS.variable}"


@pytest.mark.redis
def test_a_server_that_listens_comes_next(
    own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_redis()
    monkeypatch.setenv(REDIS.variable, NOBODY_LISTENS)

    found = ladder().find(replace(REDIS, usual=(NOBODY_LISTENS, server.url)))
    found.close()

    assert found.url == server.url
    assert server.answers()  # it is not ours to stop


@pytest.mark.redis
def test_a_binary_of_redis_is_started_and_leaves_nothing(
    own_redis: Callable[..., RedisServer], alone: Path
) -> None:
    start_and_close(REDIS, alone)


@pytest.mark.rabbitmq
def test_a_binary_of_rabbitmq_is_started_and_leaves_nothing(
    own_rabbitmq: Callable[..., RabbitMQServer], alone: Path
) -> None:
    start_and_close(RABBITMQ, alone)


def start_and_close(service: Service, folder: Path) -> None:
    found = ladder().find(replace(service, usual=(NOBODY_LISTENS,)))
    assert service.answers(found.url)
    assert remains_of(folder)

    found.close()

    assert not service.answers(found.url)
    eventually(lambda: not remains_of(folder))
    assert not list(folder.iterdir())


def test_where_nothing_works_the_error_says_what_was_tried_and_what_to_do(alone: Path) -> None:
    nowhere = replace(REDIS, usual=(NOBODY_LISTENS,), binary=lambda: None)

    with pytest.raises(UnavailableError) as caught:
        ladder().find(nowhere)

    assert str(caught.value) == (
        "Set MINDTRACE_TEST_REDIS_URL to an address like redis://127.0.0.1:1/0, or start one there"
        " (docker compose up -d redis), or install it (apt-get install redis-server, brew install"
        " redis). Tried: MINDTRACE_TEST_REDIS_URL is not set; none lets us in at 127.0.0.1:1; no"
        " redis-server on PATH; no Docker engine answers; apt-get was not asked (--no-install)."
    )


def test_a_password_of_an_address_is_not_told(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REDIS.variable, "redis://:s3cret@127.0.0.1:1/0")
    nowhere = replace(REDIS, usual=(NOBODY_LISTENS,), binary=lambda: None)

    with pytest.raises(UnavailableError, match="leads to no Redis that lets us in") as caught:
        ladder().find(nowhere)

    assert "s3cret" not in str(caught.value)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No address in the environment, no Docker engine, and a folder for all temporary files."""
    for service in (REDIS, RABBITMQ):
        monkeypatch.delenv(service.variable, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-such-socket")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def ladder() -> Ladder:
    return Ladder(print, may_install=False)
