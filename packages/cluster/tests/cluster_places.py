"""The places where the clusters of tests keep their things."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from mindtrace.cluster.ports.redis_state import RedisState
from mindtrace.jobs import RabbitMQClient, backend_from_url

if TYPE_CHECKING:
    from object_store import ObjectStore


def in_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Have clusters keep their things where the parameter says, `embedded` or `distributed`."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path_factory.mktemp("root")))
        if request.param == "embedded":
            yield "embedded"
        else:
            yield from _distributed(request, monkeypatch)


def _distributed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"test-{uuid4().hex[:10]}"
    redis_url = f"{request.getfixturevalue('redis_server_url')}?namespace={name}"
    rabbitmq_url = f"{request.getfixturevalue('rabbitmq_server_url')}?namespace={name}"
    store: ObjectStore = request.getfixturevalue("s3")
    settings = {
        "DEFAULT_REDIS_URL": redis_url,
        "QUEUE_URL": rabbitmq_url,
        "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
        "MINIO_BUCKET": name,
    }
    for key, value in settings.items():
        monkeypatch.setenv(f"MINDTRACE_CLUSTER__{key}", value)
    yield "distributed"
    _forget(redis_url, rabbitmq_url)


def _forget(redis_url: str, rabbitmq_url: str) -> None:
    with RabbitMQClient(url=rabbitmq_url) as broker:
        for queue in broker.store.queues():
            broker.delete_queue(queue)
    ledger = backend_from_url(redis_url)
    for queue in ledger.store.queues():
        ledger.delete_queue(queue)
    ledger.close()
    state = RedisState(redis_url)
    for kind in ("targets", "auto_connect", "schemas", "workers", "nodes", "unrouted", "apps"):
        state.clear(kind)
    state.clear_index()
    state.clear("@number")
    state.close()
