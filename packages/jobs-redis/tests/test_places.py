"""The same jobs behind Sentinel, in a Cluster, over TLS, with a login; on servers of their own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from redis_servers import HOST, OwnRedis, free_port

from mindtrace.jobs.backend import QueueSpec
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs.loading import backend_from_args
from mindtrace.jobs.testing import eventually
from mindtrace.jobs.testing.harness import ack, entry
from mindtrace.jobs.testing.waiting import Background, pause
from mindtrace.jobs_redis import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mindtrace.jobs.client import OrchestratorBackend

pytestmark = pytest.mark.process

LEASE = 2.0


def carries_jobs(client: OrchestratorBackend, queue: str = "tasks") -> None:
    """Publish a job, run it, and wait for it, by two clients."""
    store = client.store
    store.declare_queue(QueueSpec(queue))
    other = backend_from_args(client.consumer_backend_args)
    holder = other.store.holder()
    blocked = Background(lambda: holder.receive([queue], limit=1, wait=20))
    pause(0.1)  # so that it blocks, on a connection of its own
    store.publish(queue, [entry("job", body='{"payload": {}}', keep=60.0)])
    (delivery,) = blocked.result().deliveries
    asking = Background(lambda: store.wait_finished("job", 20))
    pause(0.1)
    assert holder.settle([ack(delivery, "1")]) == []
    found = asking.result()
    assert found is not None
    assert found.result == "1"
    holder.close()
    other.close()


def keeps_its_leases(client: RedisClient, queue: str = "tasks") -> None:
    """Hold a job for longer than a lease: that is the keeper's work, by its own connection."""
    holder = client.store.holder()
    holder.receive([queue], limit=1, wait=0)
    ends = f"{client.store.place.base}:holders"
    first = float(client.store.server.command("ZSCORE", ends, holder.number))

    def renewed() -> bool:
        return float(client.store.server.command("ZSCORE", ends, holder.number)) > first + 0.1

    eventually(renewed, within=20, what="a renewal by the keeper")
    holder.close()


def opened(url: str, lease: float = LEASE) -> RedisClient:
    client = RedisClient.from_url(url)
    client.declare_queue("tasks", lease=lease)
    return client


def information(client: Any) -> set[str]:
    """Return the lines in which a node tells of its Cluster."""
    return set(client.execute_command("CLUSTER", "INFO").split())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Cluster of one node that has all slots."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with OwnRedis(tmp_path, *options) as server:
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: "cluster_state:ok" in information(client), within=20)
        client.close()
        yield server


def test_a_cluster_carries_jobs(cluster: OwnRedis) -> None:
    client = opened(f"{cluster.url}?cluster=true&namespace=one")

    carries_jobs(client)
    keeps_its_leases(client)

    client.close()


def test_all_keys_of_a_namespace_are_in_one_slot(cluster: OwnRedis) -> None:
    client = opened(f"{cluster.url}?cluster=true&namespace=one")
    carries_jobs(client)
    store = client.store
    store.publish("tasks", [entry(delay=9.0), entry(ttl=9.0, dedup_key="k"), entry(priority=2)])

    plain = cluster.client()
    slots = {plain.execute_command("CLUSTER", "KEYSLOT", key) for key in plain.scan_iter()}

    assert len(slots) == 1
    plain.close()
    client.close()


def test_a_client_finds_the_node_of_a_cluster_that_has_its_slot(tmp_path: Path) -> None:
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with OwnRedis(tmp_path, *options) as one, OwnRedis(tmp_path, *options) as other:
        plain = one.client()
        slot = plain.execute_command("CLUSTER", "KEYSLOT", "{mt1:far}:queues")
        mine = [(0, slot - 1), (slot + 1, 16383)]
        for first, last in mine:
            plain.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        far = other.client()
        far.execute_command("CLUSTER", "ADDSLOTS", slot)
        plain.execute_command("CLUSTER", "MEET", HOST, other.port)
        for each in (plain, far):
            eventually(
                lambda each=each: (
                    {"cluster_state:ok", "cluster_known_nodes:2"} <= information(each)
                ),
                within=30,
            )

        client = opened(f"{one.url}?cluster=true&namespace=far")
        carries_jobs(client)
        keeps_its_leases(client)

        assert far.exists("{mt1:far}:queues") == 1
        client.close()
        plain.close()
        far.close()


def sentinel_of(primary: OwnRedis, tmp_path: Path) -> OwnRedis:
    config = (
        f"sentinel monitor jobs {HOST} {primary.port} 1\n"
        "sentinel down-after-milliseconds jobs 500\n"
        "sentinel failover-timeout jobs 3000\n"
    )
    return OwnRedis(tmp_path, sentinel=config)


def test_sentinel_names_the_primary_and_the_next_one(tmp_path: Path) -> None:
    with (
        OwnRedis(tmp_path) as primary,
        OwnRedis(tmp_path, "--replicaof", HOST, str(primary.port)) as replica,
        sentinel_of(primary, tmp_path) as sentinel,
    ):
        url = f"redis+sentinel://{HOST}:{sentinel.port}/jobs/0?namespace=watched"
        client = opened(url, lease=15.0)  # longer than the failover takes
        carries_jobs(client)
        keeps_its_leases(client)
        holder = client.store.holder()
        client.store.publish("tasks", [entry("survivor")])
        (delivery,) = holder.receive(["tasks"], limit=1, wait=5).deliveries
        plain = replica.client()
        eventually(lambda: plain.hexists("{mt1:watched}:jobs", "survivor"), within=20)
        watcher = sentinel.client()
        eventually(lambda: watcher.execute_command("SENTINEL", "REPLICAS", "jobs") != [], within=30)

        primary.kill()
        eventually(lambda: plain.role()[0] == "master", within=60, what="the failover")

        def settled() -> bool:
            try:
                stale = holder.settle([ack(delivery)])
            except BackendUnavailableError:
                return False
            return stale == [] and client.store.stats("tasks").leased == 0

        eventually(settled, within=20, what="the new primary")
        client.store.publish("tasks", [entry("afterwards")])
        assert client.store.stats("tasks").ready == 1
        client.close()
        plain.close()
        watcher.close()


def test_a_service_that_no_sentinel_knows_is_told(tmp_path: Path) -> None:
    with OwnRedis(tmp_path) as primary, sentinel_of(primary, tmp_path) as sentinel:
        client = RedisClient.from_url(f"redis+sentinel://{HOST}:{sentinel.port}/others")

        with pytest.raises(BackendUnavailableError, match="no Sentinel knows a primary"):
            client.store.stats("tasks")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself."""
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(files[1]), "-out", str(files[0])),
        ],
        check=True,
        capture_output=True,
    )
    return files


@pytest.fixture
def encrypted(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[OwnRedis]:
    """A server that speaks TLS, and TLS only on its second port."""
    server = OwnRedis(tmp_path)
    tls_port = free_port()
    options = ["--tls-port", str(tls_port), "--tls-cert-file", str(certificate[0])]
    options += ["--tls-key-file", str(certificate[1]), "--tls-auth-clients", "no"]
    options += ["--tls-ca-cert-file", str(certificate[0])]
    with server.also(*options):
        server.port = tls_port
        yield server


def test_jobs_travel_over_tls(encrypted: OwnRedis, certificate: tuple[Path, Path]) -> None:
    client = opened(f"rediss://{HOST}:{encrypted.port}?ssl_ca_certs={certificate[0]}")

    carries_jobs(client)
    keeps_its_leases(client)

    client.close()


def test_tls_may_be_said_by_arguments(encrypted: OwnRedis, certificate: tuple[Path, Path]) -> None:
    client = RedisClient(HOST, encrypted.port, ssl=True, ssl_ca_certs=str(certificate[0]))

    carries_jobs(client)

    client.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(encrypted: OwnRedis) -> None:
    client = RedisClient(HOST, encrypted.port, ssl=True)

    with pytest.raises(BackendUnavailableError, match="certificate is not trusted") as caught:
        client.store.stats("tasks")

    assert not caught.value.transient


def test_a_user_with_a_password_gets_in(tmp_path: Path) -> None:
    password = "p@ss w:rd/%"
    with OwnRedis(tmp_path, "--requirepass", password).logs_in(password=password) as server:
        plain = server.client()
        plain.acl_setuser(
            "worker",
            enabled=True,
            passwords=[f"+{password}"],
            keys=["{mt1:*"],
            categories=["+@all", "-@admin", "-@dangerous"],
        )
        by_argument = RedisClient(HOST, server.port, password=password)
        carries_jobs(by_argument)
        by_url = opened(f"redis://worker:p%40ss%20w%3Ard%2F%25@{HOST}:{server.port}?namespace=own")
        carries_jobs(by_url)
        keeps_its_leases(by_url)
        by_argument.close()
        by_url.close()
        plain.close()
