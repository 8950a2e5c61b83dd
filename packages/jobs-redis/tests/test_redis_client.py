"""What a user holds: construction, names, results by hand, and a surface that is pinned."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from redis_harness import remove_keys, with_namespace

import mindtrace.jobs
import mindtrace.jobs_redis
from mindtrace.jobs import (
    Consumer,
    JobValidationError,
    Orchestrator,
    backend_from_url,
    load_backend,
)
from mindtrace.jobs.backend import QueueOptions, QueueSpec
from mindtrace.jobs.errors import UnsupportedByBackendError
from mindtrace.jobs.testing.harness import ack, entry
from mindtrace.jobs_redis import RedisClient, RedisConsumerBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindtrace.jobs.backend import QueueType

SECRET = "hush-hush"


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    namespace = f"client-{uuid.uuid4().hex[:12]}"
    with RedisClient.from_url(with_namespace(redis_url, namespace)) as client:
        yield client
    remove_keys(redis_url, namespace)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_these_names_are_public() -> None:
    assert mindtrace.jobs_redis.__all__ == ["RedisClient", "RedisConsumerBackend", "RedisStore"]
    for name in mindtrace.jobs_redis.__all__:
        assert getattr(mindtrace.jobs_redis, name).__doc__
        assert name in dir(mindtrace.jobs_redis)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'RedisQueue'"):
        _ = mindtrace.jobs_redis.RedisQueue  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue] - that is the test


def test_the_names_are_those_of_the_jobs_package_too() -> None:
    assert mindtrace.jobs.RedisClient is RedisClient  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue] - resolved by its __getattr__
    assert load_backend("redis") is RedisClient
    assert type(backend_from_url("redis://host")) is RedisClient


@pytest.mark.process
def test_importing_the_package_loads_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import mindtrace.jobs_redis; "
        "print([each for each in ('redis', 'hiredis', 'ssl', 'pydantic') "
        "if each in sys.modules and each not in before])"
    )

    assert run_python(code) == "[]"


@pytest.mark.process
def test_constructing_opens_no_connection_and_starts_no_process() -> None:
    code = (
        "import sys\n"
        "from mindtrace.jobs_redis import RedisClient\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event))\n"
        "RedisClient('127.0.0.1', 1); RedisClient.from_url('redis+sentinel://h/s')\n"
        "RedisClient.from_url('redis://h?cluster=true')\n"
        "print([each for each in seen if each.startswith(('socket.', 'subprocess.', 'os.fork'))])"
    )

    assert run_python(code) == "[]"


def test_the_defaults_are_those_of_a_server_on_this_machine() -> None:
    place = RedisClient().store.place

    assert (str(place), place.db, place.namespace) == ("localhost:6379", 0, "default")
    assert (place.username, place.password, place.tls) == (None, None, None)


@pytest.mark.parametrize("password", [SECRET, SecretStr(SECRET)])
def test_no_password_shows_in_a_client(password: str | SecretStr) -> None:
    client = RedisClient("127.0.0.1", 1, password=password)

    assert client.store.place.secret == SECRET
    for shown in (repr(client), str(client), repr(client.store), repr(client.store.place)):
        assert SECRET not in shown
    with pytest.raises(ConnectionError) as caught:
        client.store.holder()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__


def test_what_is_named_wins_over_the_url() -> None:
    client = RedisClient(
        url="redis://a:b@host/2?namespace=x", username="c", password="d", namespace="y"
    )

    place = client.store.place
    assert (place.db, place.username, place.secret, client.namespace) == (2, "c", "d", "y")


@pytest.mark.redis
def test_results_kept_by_hand_are_read_again(client: RedisClient) -> None:
    client.store_job_result("by hand", {"a": [1, None]})

    assert client.get_job_result("by hand") == {"a": [1, None]}
    assert client.get_job_result("unknown") is None
    with pytest.raises(JobValidationError):
        client.store_job_result("by hand", object())


@pytest.mark.redis
def test_a_kept_outcome_is_read_the_same_way(client: RedisClient) -> None:
    client.store.declare_queue(QueueSpec("tasks"))
    client.store.publish("tasks", [entry("job", keep=60.0)])
    holder = client.store.holder()
    holder.settle([ack(holder.receive(["tasks"], limit=1, wait=0).deliveries[0], '{"x": 1}')])

    assert client.get_job_result("job") == {"x": 1}


@pytest.mark.redis
def test_the_older_consumer_backend_takes_a_poll_timeout(client: RedisClient) -> None:
    orchestrator = Orchestrator(client)
    orchestrator.declare_queue("tasks")

    made = RedisConsumerBackend("tasks", orchestrator, poll_timeout=5)

    assert (made.queue_name, made.poll_timeout) == ("tasks", 5)
    consumer = Consumer()
    consumer.connect_to_orchestrator(orchestrator, "tasks")
    assert type(consumer.consumer_backend) is RedisConsumerBackend


def test_exchanges_are_not_for_redis() -> None:
    with pytest.raises(UnsupportedByBackendError):
        RedisClient().declare_exchange(exchange="any")


@pytest.mark.redis
def test_many_jobs_go_in_one_call(client: RedisClient) -> None:
    store = client.store
    store.declare_queue(QueueSpec("tasks"))
    entries = [entry(priority=place % 3) for place in range(5000)]

    assert store.publish("tasks", entries) == [each.id for each in entries]

    assert store.stats("tasks").ready == 5000
    holder = store.holder()
    assert len(holder.receive(["tasks"], limit=3000, wait=0).deliveries) == 1000
    assert store.purge("tasks") == 4000


@pytest.mark.redis
def test_any_priority_orders_exactly(client: RedisClient) -> None:
    store = client.store
    store.declare_queue(QueueSpec("tasks", "priority"))
    levels = [2**62 - 1, 2**62 - 2, 2**53 + 1, 2**53, 1, 0, -1, -(2**53), -(2**62) + 1]
    for level in reversed(levels):
        store.publish("tasks", [entry(priority=level)])

    found = store.holder().receive(["tasks"], limit=20, wait=0).deliveries

    assert [each.priority for each in found] == levels


@pytest.mark.redis
@pytest.mark.parametrize("kind", ["fifo", "stack", "priority"])
def test_a_job_published_alone_is_kept_as_one_among_several(
    client: RedisClient, kind: QueueType
) -> None:
    store = client.store
    store.declare_queue(QueueSpec("tasks", kind))
    above, first, second, third, below = (entry(priority=level) for level in (1, 0, 0, 0, -1))
    store.publish("tasks", [below, first])
    store.publish("tasks", [second])
    store.publish("tasks", [third, above])

    found = {each.id: each for each in store.outlet("tasks").take(10)}
    order = [each.id for each in store.holder().receive(["tasks"], limit=9, wait=0).deliveries]

    sent = [below, first, second, third, above]
    assert list(found) == [each.id for each in sent]
    alone, among = found[second.id], found[first.id]
    own = {"entry": alone.entry, "id": alone.id, "published_at": alone.published_at}
    assert among._replace(**own) == alone
    assert among.published_at <= alone.published_at <= found[third.id].published_at
    ordered = {"fifo": sent, "stack": sent[::-1], "priority": [above, first, second, third, below]}
    assert order == [each.id for each in ordered[kind]]


@pytest.mark.redis
def test_what_a_dead_holder_had_is_among_what_can_be_taken_out(client: RedisClient) -> None:
    store = client.store
    store.declare_queue(QueueSpec("tasks"))
    (job_id,) = store.publish("tasks", [entry()])
    holder = store.holder()
    assert len(holder.receive(["tasks"], limit=1, wait=0).deliveries) == 1
    holder.die()

    (found,) = store.outlet("tasks").take(10)

    assert (found.id, found.lost) == (job_id, 1)


@pytest.mark.redis
def test_a_job_published_alone_again_adds_nothing(client: RedisClient) -> None:
    store = client.store
    store.declare_queue(QueueSpec("tasks"))
    job = entry(body='"first"')

    for body in (job.body, '"second"'):
        assert store.publish("tasks", [job._replace(body=body)]) == [job.id]

    found = store.holder().receive(["tasks"], limit=9, wait=0).deliveries
    assert [(each.id, each.body) for each in found] == [(job.id, '"first"')]


@pytest.mark.redis
def test_jobs_that_die_together_do_so_in_publish_order(client: RedisClient) -> None:
    store = client.store
    options = QueueOptions(max_deliveries=1)
    store.declare_queue(QueueSpec("tasks", "priority", options))
    wanted = store.publish("tasks", [entry(priority=level) for level in (1, 3, 2)])
    holder = store.holder()
    assert len(holder.receive(["tasks"], limit=3, wait=0).deliveries) == 3

    holder.close()

    dead = store.dead_letters("tasks", limit=5, after=None)
    assert [each.delivery.id for each in dead] == wanted
