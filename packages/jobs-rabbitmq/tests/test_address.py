"""An address from arguments and URLs, to messages and to other processes, without secrets."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.parse import quote

import pytest

from mindtrace.jobs import LocalClient, RabbitMQClient, RedisClient
from mindtrace.jobs.loading import backend_from_args, backend_from_url
from mindtrace.jobs_rabbitmq.address import Address, read_url

SECRET = "p@ss w:rd/%?#"


def address_of(client: RabbitMQClient) -> Address:
    found: Address = vars(client)["_broker"].location
    return found


def test_the_defaults_are_those_of_the_older_code() -> None:
    found = address_of(RabbitMQClient())

    assert (found.host, found.port, found.vhost) == ("localhost", 5672, "/")
    assert (found.username, found.password.get_secret_value()) == ("user", "password")
    assert (found.secure, found.heartbeat, found.namespace) == (False, None, "")


def test_none_means_the_default() -> None:
    assert address_of(RabbitMQClient(None, None, None, None)) == address_of(RabbitMQClient())


def test_arguments_may_be_given_in_the_older_order() -> None:
    found = address_of(RabbitMQClient("broker", 1234, "me", SECRET))

    assert (found.host, found.port, found.username) == ("broker", 1234, "me")
    assert found.password.get_secret_value() == SECRET


def test_with_tls_the_port_is_another_unless_said() -> None:
    assert address_of(RabbitMQClient(ssl=True)).port == 5671
    assert address_of(RabbitMQClient(ssl=True, port=5672)).port == 5672
    assert address_of(RabbitMQClient.from_url("amqps://broker")).port == 5671
    assert address_of(RabbitMQClient.from_url("amqps://broker:7")).port == 7


def test_a_context_of_ones_own_means_tls() -> None:
    context = ssl.create_default_context()

    found = address_of(RabbitMQClient(ssl=context))

    assert found.secure
    assert found.context is context


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("amqp://", {"host": "localhost", "port": 5672, "vhost": "/", "username": "user"}),
        ("amqp://h", {"host": "h"}),
        ("amqp://h:7/", {"host": "h", "port": 7, "vhost": "/"}),
        ("amqp://h/%2F", {"vhost": "/"}),
        ("amqp://h/team", {"vhost": "team"}),
        ("amqp://h/a%2Fb", {"vhost": "a/b"}),
        ("amqp://[::1]:7/", {"host": "::1", "port": 7}),
        ("amqp://me@h", {"username": "me"}),
        ("amqp://h?heartbeat=9", {"heartbeat": 9}),
        ("amqp://h?heartbeat=0", {"heartbeat": 0}),
        ("amqp://h?namespace=team", {"namespace": "team"}),
        ("amqps://h?cafile=/a&verify=no", {"tls": (("cafile", "/a"), ("verify", "no"))}),
    ],
)
def test_a_url_says_where(url: str, facts: dict[str, Any]) -> None:
    found = address_of(RabbitMQClient.from_url(url))

    assert {name: getattr(found, name) for name in facts} == facts


def test_a_login_in_a_url_is_percent_encoded() -> None:
    found = address_of(
        RabbitMQClient.from_url(f"amqp://{quote('m:e', safe='')}:{quote(SECRET, safe='')}@h/")
    )

    assert found.username == "m:e"
    assert found.password.get_secret_value() == SECRET


def test_given_names_win_over_the_url() -> None:
    client = RabbitMQClient(
        "other",
        8,
        "you",
        "theirs",
        url="amqp://me:mine@h:7/v?heartbeat=5&namespace=n",
        vhost="w",
        heartbeat=6,
        namespace="m",
    )

    found = address_of(client)

    assert (found.host, found.port, found.username, found.vhost) == ("other", 8, "you", "w")
    assert (found.password.get_secret_value(), found.heartbeat, found.namespace) == (
        "theirs",
        6,
        "m",
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h", "begins with amqp"),
        ("amqp:h", "begins with amqp"),
        (f"amqp://me:{SECRET}@h", "host:port"),
        (f"amqp://me:{SECRET}", "host:port"),
        ("amqp://h:port", "host:port"),
        ("amqp://h:99999", "host:port"),
        ("amqp://h:0", "a port lies"),
        ("amqp://[h", "host:port"),
        ("amqp://h?prefetch=1", "these options only: namespace"),
        ("amqp://h:1?ss=word@h", "these options only"),
        ("amqp://h?heartbeat=soon", "number of seconds"),
        ("amqp://h?heartbeat=70000", "heartbeat takes seconds"),
        ("amqp://h?heartbeat=-1", "number of seconds"),
        ("amqp://h?cafile=/a", "cafile goes with TLS"),
        ("amqps://h?verify=maybe", "verify in a RabbitMQ URL is yes or no"),
        ("amqp://h?namespace=a:b", "without a colon"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_and_not_repeated(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        RabbitMQClient.from_url(url)

    assert caught.value.__cause__ is None
    assert "p@ss" not in str(caught.value)
    assert "ss=word" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"port": 0}, {"port": 70000}, {"heartbeat": -1}, {"namespace": "amq.x"}],
    ids=str,
)
def test_arguments_that_lead_nowhere_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        RabbitMQClient(**options)


CLIENTS = [
    RabbitMQClient("h", 7, "me", SECRET, vhost="a/b", heartbeat=9, namespace="team"),
    RabbitMQClient.from_url(f"amqps://me:{quote(SECRET, safe='')}@[::1]/?verify=no&cafile=/a"),
    RabbitMQClient(password=SECRET, ssl=True),
    RabbitMQClient(password=SECRET, ledger=RedisClient("r", password=SECRET)),
    RabbitMQClient(password=SECRET, ledger=f"redis://u:{quote(SECRET, safe='')}@r/2?namespace=x"),
]


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
def test_another_process_gets_the_same_client_by_arguments(client: RabbitMQClient) -> None:
    args = json.loads(json.dumps(client.consumer_backend_args))

    other = backend_from_args(args)

    assert isinstance(other, RabbitMQClient)
    assert address_of(other) == address_of(client)
    assert repr(other) == repr(client)
    if client.ledger is not None:
        assert other.ledger is not None
        assert other.ledger.consumer_backend_args == client.ledger.consumer_backend_args


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
def test_no_repr_has_a_password(client: RabbitMQClient) -> None:
    texts = [repr(client), str(client), repr(address_of(client)), client.store.address]
    texts.append(repr(address_of(client).parameters("x")) if not address_of(client).tls else "")

    for text in texts:
        assert SECRET not in text
        assert quote(SECRET, safe="") not in text


def test_a_context_cannot_go_to_another_process() -> None:
    client = RabbitMQClient(ssl=ssl.create_default_context())

    with pytest.raises(NotImplementedError, match="cafile="):
        _ = client.consumer_backend_args


def test_one_url_names_the_ledger_too() -> None:
    ledger = "redis://u:p%2F@r:7/2?namespace=x"

    client = backend_from_url(f"amqp://h?ledger={quote(ledger, safe='')}&namespace=n")

    assert isinstance(client, RabbitMQClient)
    assert isinstance(client.ledger, RedisClient)
    assert client.ledger.namespace == "x"
    assert client.ledger.store.place.secret == "p/"
    assert client.namespace == "n"
    assert client.capabilities.job_identity


def test_a_ledger_may_be_a_client_a_url_or_arguments(tmp_path: Any) -> None:
    with LocalClient(tmp_path / "ledger") as ledger:
        said: list[Any] = [ledger, f"sqlite:///{tmp_path}/ledger", ledger.consumer_backend_args]
        for each in said:
            with RabbitMQClient(ledger=each) as client:
                assert isinstance(client.ledger, LocalClient)
                assert client.ledger.client_dir == ledger.client_dir


def test_a_ledger_in_memory_cannot_go_to_another_process() -> None:
    with (
        RabbitMQClient(ledger="memory://") as client,
        pytest.raises(NotImplementedError, match="in memory"),
    ):
        _ = client.consumer_backend_args


def test_what_knows_no_ids_is_no_ledger() -> None:
    with pytest.raises(ValueError, match="RabbitMQClient does not; use a RedisClient"):
        RabbitMQClient(ledger=RabbitMQClient())


def test_the_ledger_of_a_url_is_given_apart() -> None:
    said, ledger = read_url("amqp://h?ledger=memory%3A%2F%2F")

    assert ledger == "memory://"
    assert said == {"host": "h", "secure": False}


def test_pika_gets_what_was_said() -> None:
    client = RabbitMQClient("h", 7, "me", SECRET, vhost="v", heartbeat=9)

    found = address_of(client).parameters("test")

    assert (found.host, found.port, found.virtual_host, found.heartbeat) == ("h", 7, "v", 9)
    assert vars(found.credentials).items() >= {"username": "me", "password": SECRET}.items()


def test_the_brokers_own_heartbeat_is_taken_unless_said() -> None:
    assert address_of(RabbitMQClient("h")).parameters("test").heartbeat is None
