"""The process that renews leases: it lives as long as its parent, and gives nothing away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from redis_harness import remove_keys, with_namespace
from redis_servers import HOST, OwnRedis

from mindtrace.core import SystemClock
from mindtrace.jobs.backend import QueueOptions, QueueSpec
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import ack, entry, ids
from mindtrace.jobs_redis import RedisClient, keeping

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.redis, pytest.mark.process]

QUEUE = "tasks"
LEASE = 2.0

HOLDING = """
import os, sys
from mindtrace.jobs_redis import RedisClient, keeping
client = RedisClient.from_url(sys.argv[1])
holder = client.store.holder()
(delivery,) = holder.receive(["tasks"], limit=1, wait=20).deliveries
keeper = keeping.keeper_for(client.store.place).pid
child = os.fork() if "fork" in sys.argv else 0
if "fork" in sys.argv and child == 0:
    sys.stdin.read()
    os._exit(0)
print(keeper, child, flush=True)
if "leave" not in sys.argv:
    sys.stdin.read()
"""


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    namespace = f"keeper-{uuid.uuid4().hex[:12]}"
    with RedisClient.from_url(with_namespace(redis_url, namespace)) as client:
        client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=LEASE)))
        yield client
    remove_keys(redis_url, namespace)


class Holding:
    """A process that holds one job until it ends."""

    def __init__(self, client: RedisClient, redis_url: str, *how: str) -> None:
        url = with_namespace(redis_url, client.namespace)
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDING, url, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        keeper, child = self.process.stdout.readline().split()
        self.keeper = psutil.Process(int(keeper))
        self.child = int(child)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def keeper_of(client: RedisClient) -> psutil.Process:
    return psutil.Process(keeping.keeper_for(client.store.place).pid)


def test_the_job_of_a_killed_process_comes_back_within_a_lease_and_a_second(
    client: RedisClient, redis_url: str
) -> None:
    client.store.publish(QUEUE, [entry("held")])
    holding = Holding(client, redis_url)
    holder = client.store.holder()
    clock = SystemClock()

    holding.keeper.kill()  # nobody is left to end the lease: it runs out
    holding.kill()
    began = clock.monotonic()
    found = holder.receive([QUEUE], limit=1, wait=20).deliveries
    waited = clock.monotonic() - began

    assert ids(found) == ["held"]
    assert found[0].lost == 1
    assert waited <= LEASE + 10, f"{waited:.2f} s"
    holding.end()


def test_a_keeper_ends_the_leases_of_its_parent_at_once(
    client: RedisClient, redis_url: str
) -> None:
    client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=600.0)))
    client.store.publish(QUEUE, [entry("held")])
    holding = Holding(client, redis_url)
    holder = client.store.holder()

    holding.kill()

    assert ids(holder.receive([QUEUE], limit=1, wait=20).deliveries) == ["held"]
    eventually(lambda: has_ended(holding.keeper), what="the keeper's end")
    holding.end()


def test_a_forked_child_keeps_neither_the_keeper_nor_the_lease(
    client: RedisClient, redis_url: str
) -> None:
    client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=600.0)))
    client.store.publish(QUEUE, [entry("held")])
    holding = Holding(client, redis_url, "fork")
    holder = client.store.holder()

    holding.kill()
    try:
        assert ids(holder.receive([QUEUE], limit=1, wait=20).deliveries) == ["held"]
        eventually(lambda: has_ended(holding.keeper), what="the keeper's end")
        assert psutil.pid_exists(holding.child)
    finally:
        os.kill(holding.child, signal.SIGKILL)
        holding.end()


def test_a_process_that_ends_by_itself_leaves_no_keeper(
    client: RedisClient, redis_url: str
) -> None:
    client.store.publish(QUEUE, [entry("held")])

    holding = Holding(client, redis_url, "leave")

    assert holding.process.wait(20) == 0
    eventually(lambda: has_ended(holding.keeper), what="the keeper's end")
    holding.end()


def test_a_keeper_that_dies_is_replaced_and_the_lease_lives_on(
    client: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    lease = 5.0  # a busy machine takes its time to start a process
    client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=lease)))
    client.store.publish(QUEUE, [entry("held")])
    holder, other = client.store.holder(), client.store.holder()
    (delivery,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
    first = keeper_of(client)

    first.kill()
    keeper = keeping.keeper_for(client.store.place)
    eventually(lambda: keeper.pid != first.pid, what="another keeper")
    assert other.receive([QUEUE], limit=1, wait=lease + 1).deliveries == []

    assert holder.settle([ack(delivery)]) == []
    assert "another one is started" in caplog.text


def ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> number - 1 & 1)


def test_a_keeper_minds_no_stop_signal(client: RedisClient) -> None:
    client.store.publish(QUEUE, [entry("held")])
    holder, other = client.store.holder(), client.store.holder()
    (delivery,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
    keeper = keeper_of(client)
    eventually(lambda: ignores(keeper.pid, signal.SIGTERM) and ignores(keeper.pid, signal.SIGINT))

    for number in (signal.SIGTERM, signal.SIGINT):
        keeper.send_signal(number)
    assert other.receive([QUEUE], limit=1, wait=1.5 * LEASE).deliveries == []

    assert keeper_of(client).pid == keeper.pid
    assert holder.settle([ack(delivery)]) == []


def test_one_keeper_serves_all_holders_of_an_address(client: RedisClient, redis_url: str) -> None:
    other = RedisClient.from_url(with_namespace(redis_url, f"{client.namespace}-other"))
    mine, theirs = client.store.holder(), other.store.holder()

    assert keeper_of(client).pid == keeper_of(other).pid

    mine.close()
    theirs.close()
    other.close()
    remove_keys(redis_url, f"{client.namespace}-other")


def test_a_keeper_takes_little(client: RedisClient) -> None:
    client.store.holder()
    keeper = keeper_of(client)

    assert keeper.memory_info().rss < 25 * 1024 * 1024


def test_no_password_is_seen_from_outside(tmp_path: Path) -> None:
    password = "a-secret-word"
    with (
        OwnRedis(tmp_path, "--requirepass", password).logs_in(password=password) as server,
        RedisClient(HOST, server.port, password=password) as client,
    ):
        client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=LEASE)))
        client.store.publish(QUEUE, [entry("held")])
        holder, other = client.store.holder(), client.store.holder()
        (delivery,) = holder.receive([QUEUE], limit=1, wait=0).deliveries
        process = Path(f"/proc/{keeper_of(client).pid}")

        assert other.receive([QUEUE], limit=1, wait=2 * LEASE).deliveries == [], "it got in"
        for name in ("cmdline", "environ"):
            seen = (process / name).read_bytes()
            assert password.encode() not in seen
            assert password.encode().hex().encode() not in seen
        assert holder.settle([ack(delivery)]) == []


def test_an_abandoned_holder_gives_its_jobs_back(client: RedisClient) -> None:
    client.store.declare_queue(QueueSpec(QUEUE, options=QueueOptions(lease=600.0)))
    client.store.publish(QUEUE, [entry("held")])
    holder = client.store.holder()
    holder.receive([QUEUE], limit=1, wait=0)
    other = client.store.holder()

    del holder

    assert ids(other.receive([QUEUE], limit=1, wait=20).deliveries) == ["held"]
