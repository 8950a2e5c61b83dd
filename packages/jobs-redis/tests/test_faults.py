"""What breaks on the way: a server that restarts, hangs or is full, and answers that are lost."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from redis_servers import HOST, OwnRedis, Proxy

from mindtrace.core import get_free_port
from mindtrace.jobs import Consumer, Orchestrator
from mindtrace.jobs.backend import QueueOptions, QueueSpec
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import Counts, ack, entry, ids
from mindtrace.jobs.testing.waiting import Background
from mindtrace.jobs_redis import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

QUEUE = "tasks"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path) as server:
        yield server


@pytest.fixture
def client(server: OwnRedis) -> Iterator[RedisClient]:
    with RedisClient(HOST, server.port, timeout=2.0) as client:
        client.store.declare_queue(QueueSpec(QUEUE))
        yield client


@pytest.fixture
def proxy(server: OwnRedis) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: Proxy, client: RedisClient) -> Iterator[RedisClient]:
    """A client whose answers may be lost; the queue is declared."""
    with RedisClient(HOST, proxy.port, timeout=2.0) as far:
        far.store.queues()
        yield far


def counts(client: RedisClient) -> Counts:
    found = client.store.stats(QUEUE)
    return Counts(found.ready, found.delayed, found.leased, found.dead)


def test_a_restarted_server_is_used_again_without_a_word(
    server: OwnRedis, client: RedisClient
) -> None:
    client.store.publish(QUEUE, [entry("before")])

    server.kill()
    server.start()

    assert client.store.publish(QUEUE, [entry("after")]) == ["after"]
    holder = client.store.holder()
    assert ids(holder.receive([QUEUE], limit=5, wait=0).deliveries) == ["before", "after"]


def test_a_server_that_forgot_its_scripts_learns_them_again(
    server: OwnRedis, client: RedisClient
) -> None:
    client.store.publish(QUEUE, [entry()])
    plain = server.client()
    plain.script_flush()

    assert counts(client) == Counts(ready=1)
    assert len(client.store.publish(QUEUE, [entry()])) == 1
    plain.close()


def test_publishing_waits_for_a_server_that_is_away_for_a_moment(
    server: OwnRedis, client: RedisClient
) -> None:
    server.kill()

    publishing = Background(lambda: client.store.publish(QUEUE, [entry("late")]))
    assert not publishing.done.wait(0.2)
    server.start()

    assert publishing.result(within=20) == ["late"]
    assert counts(client) == Counts(ready=1)


def test_publishing_gives_up_and_names_the_place(server: OwnRedis, client: RedisClient) -> None:
    server.kill()

    with pytest.raises(BackendUnavailableError, match=f"{HOST}:{server.port}.*refused") as caught:
        client.store.publish(QUEUE, [entry()])

    assert caught.value.transient
    assert caught.value.__cause__ is not None


def test_a_server_that_hangs_is_not_waited_for_without_end(
    server: OwnRedis, client: RedisClient
) -> None:
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(BackendUnavailableError, match="did not answer in time"):
            client.store.cancel("any")
    finally:
        server.signal(signal.SIGCONT)

    eventually(lambda: counts(client) == Counts())


def test_a_job_whose_publishing_was_not_answered_is_there_once(
    client: RedisClient, far: RedisClient, proxy: Proxy
) -> None:
    proxy.swallow = b"only once"

    assert far.store.publish(QUEUE, [entry("only once")]) == ["only once"]

    assert proxy.swallowed.is_set()
    assert counts(client) == Counts(ready=1)


def test_a_job_that_finished_before_its_publisher_heard_of_it_is_no_duplicate(
    client: RedisClient, far: RedisClient, proxy: Proxy
) -> None:
    store = client.store
    store.publish(QUEUE, [entry("kept", keep=60.0)])
    holder = store.holder()
    (delivery,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
    holder.settle([ack(delivery)])

    answer = far.store.server.call("publish_checked", QUEUE, "1", "kept", "{}", "")

    assert answer == 0
    assert counts(client) == Counts()


def test_jobs_whose_handing_out_was_not_answered_come_back_uncounted(
    client: RedisClient, far: RedisClient, proxy: Proxy
) -> None:
    holder = far.store.holder()
    client.store.publish(QUEUE, [entry("known")])
    (known,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
    client.store.publish(QUEUE, [entry("first"), entry("second")])
    proxy.swallow = b"EVALSHA"
    with pytest.raises(BackendUnavailableError):
        holder.receive([QUEUE], limit=5, wait=0)
    assert counts(client) == Counts(leased=3), "they were handed out, and nobody heard"

    again = holder.receive([QUEUE], limit=5, wait=0).deliveries

    assert [(each.id, each.delivery, each.lost) for each in again] == [
        ("first", 2, 0),
        ("second", 2, 0),
    ]
    assert holder.settle([ack(each) for each in [known, *again]]) == []
    assert counts(client) == Counts()


def test_settlements_that_were_not_answered_may_be_given_again(
    client: RedisClient, far: RedisClient, proxy: Proxy
) -> None:
    holder = far.store.holder()
    client.store.publish(QUEUE, [entry("done")])
    (delivery,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
    far.store.server.call("settle")  # the server learns the script: it is to run at once
    proxy.swallow = b"EVALSHA"
    with pytest.raises(BackendUnavailableError):
        holder.settle([ack(delivery)])

    assert holder.settle([ack(delivery)]) == [ack(delivery)], "it was settled the first time"
    assert counts(client) == Counts()


def test_a_holder_lives_through_an_absence_longer_than_its_lease(
    server: OwnRedis, client: RedisClient
) -> None:
    client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=1.0)))
    holder = client.store.holder()
    client.store.publish(QUEUE, [entry("long")])
    (delivery,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
    server.kill()
    threading.Event().wait(1.5)  # the lease runs out meanwhile: that is what is tested

    server.start()

    def renewed() -> bool:
        plain = server.client()
        seconds, micros = plain.time()
        ends = plain.zscore("{mt1:default}:holders", holder.number)
        plain.close()
        return ends is not None and ends > seconds + micros / 1e6

    eventually(renewed, what="the keeper's reconnecting")
    assert holder.settle([ack(delivery)]) == []


class Counting(Consumer):
    """Counts what it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def run(self, job_dict: Any) -> None:
        self.ran.append(job_dict["id"])


def test_a_consumer_comes_back_by_itself_after_the_server(
    server: OwnRedis, client: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = Counting()
    consumer.connect_to_orchestrator(Orchestrator(client), QUEUE)
    running = Background(lambda: consumer.consume(num_messages=2))
    client.store.publish(QUEUE, [entry("first", body='{"payload": {}}')])
    eventually(lambda: consumer.ran == ["first"])

    server.kill()
    eventually(lambda: "Waiting for it to come back" in caplog.text)
    server.start()
    client.store.publish(QUEUE, [entry("second", body='{"payload": {}}')])

    assert running.result(within=20) == 2
    assert consumer.ran == ["first", "second"]
    assert "The redis backend is back" in caplog.text


def test_a_wrong_password_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    with OwnRedis(tmp_path, "--requirepass", "right-one").logs_in(password="right-one") as server:
        for password in (None, "wrong-one"):
            client = RedisClient(HOST, server.port, password=password)
            with pytest.raises(BackendUnavailableError, match="check username= and pass") as caught:
                client.store.publish(QUEUE, [entry()])
            assert not caught.value.transient
            assert "one" not in str(caught.value).replace("no one", "")
            client.close()


def test_a_password_for_a_server_without_one_is_told(client: RedisClient, server: OwnRedis) -> None:
    wrong = RedisClient(HOST, server.port, password="needless")

    with pytest.raises(BackendUnavailableError, match="refused the login"):
        wrong.store.stats(QUEUE)


def test_a_full_server_refuses_new_jobs_alone(server: OwnRedis, client: RedisClient) -> None:
    store = client.store
    store.publish(QUEUE, [entry(body=f'{{"payload": "{"x" * 1000}"}}', keep=60.0)] * 1)
    store.publish(QUEUE, [entry() for _ in range(3)])
    holder = store.holder()
    plain = server.client()
    plain.config_set("maxmemory", "1kb")

    with pytest.raises(BackendUnavailableError, match="maxmemory is reached") as caught:
        store.publish(QUEUE, [entry()])
    for refused in ([entry(), entry()], [entry(dedup_key="key")]):
        with pytest.raises(BackendUnavailableError, match="raise maxmemory"):
            store.publish(QUEUE, refused)
    assert caught.value.transient

    found = holder.receive([QUEUE], limit=10, wait=0).deliveries
    assert len(found) == 4
    assert holder.settle([ack(found[0], '"a result"'), *map(ack, found[1:])]) == []
    record = store.record(found[0].id)
    assert record is not None
    assert record.result == '"a result"'
    plain.config_set("maxmemory", 0)
    assert len(store.publish(QUEUE, [entry()])) == 1
    plain.close()


def test_a_replica_is_said_to_be_one(tmp_path: Path, server: OwnRedis) -> None:
    with OwnRedis(tmp_path, "--replicaof", HOST, str(server.port)) as replica:
        client = RedisClient(HOST, replica.port)

        with pytest.raises(BackendUnavailableError, match="read-only replica") as caught:
            client.store.cancel("any")

        assert caught.value.transient
        client.close()


def test_a_user_who_may_not_is_told_what_to_grant(server: OwnRedis) -> None:
    plain = server.client()
    plain.acl_setuser("guest", enabled=True, nopass=True, keys=["other:*"], categories=["+@all"])
    client = RedisClient(HOST, server.port, username="guest", password="any")

    with pytest.raises(BackendUnavailableError, match="grant it") as caught:
        client.store.stats(QUEUE)

    assert not caught.value.transient
    client.close()
    plain.close()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_server_that_keeps_its_jobs_is_not_warned_of(
    client: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.store.publish(QUEUE, [entry()])

    assert warnings_of(caplog) == []


def test_a_server_that_loses_jobs_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    with OwnRedis(tmp_path, *options) as server, RedisClient(HOST, server.port) as client:
        for _ in range(3):
            client.store.queues()

    first, second = warnings_of(caplog)
    assert "appendonly off" in first
    assert "maxmemory-policy allkeys-lru" in second


def test_a_server_that_tells_no_settings_is_not_warned_of(
    server: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    plain = server.client()
    plain.acl_setuser(
        "worker", enabled=True, nopass=True, keys=["{mt1:*"], categories=["+@all", "-@admin"]
    )
    with RedisClient(HOST, server.port, username="worker", password="any") as client:
        client.store.queues()

    assert warnings_of(caplog) == []
    plain.close()


def test_nothing_listens_and_that_is_said() -> None:
    port = get_free_port(HOST, 40_000, 45_000)
    client = RedisClient(HOST, port)

    with pytest.raises(BackendUnavailableError, match=f"{HOST}:{port} cannot be used.*runs there"):
        client.store.holder()
