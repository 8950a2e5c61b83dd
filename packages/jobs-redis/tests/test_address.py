"""Where a Redis is: URLs there and back, and no password in sight."""

from __future__ import annotations

import json

import pytest

from mindtrace.jobs_redis import RedisClient
from mindtrace.jobs_redis.address import Address, Tls, address_of_url

SECRET = "hush-hush"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://", Address((("localhost", 6379),))),
        ("redis://host", Address((("host", 6379),))),
        ("redis://host:7000/3", Address((("host", 7000),), db=3)),
        ("redis://[::1]:7000", Address((("::1", 7000),))),
        ("redis://host?namespace=mine", Address((("host", 6379),), namespace="mine")),
        ("rediss://host", Address((("host", 6379),), tls=Tls())),
        (
            "rediss://host?ssl_ca_certs=/a/ca.pem&ssl_check_hostname=false",
            Address((("host", 6379),), tls=Tls("/a/ca.pem", check_hostname=False)),
        ),
        (
            "redis://one:7000,two:7001?cluster=true",
            Address((("one", 7000), ("two", 7001)), "cluster"),
        ),
        (
            "redis+sentinel://one,two:26380/jobs/2",
            Address((("one", 26379), ("two", 26380)), "sentinel", "jobs", 2),
        ),
        (
            "redis+sentinel://one/jobs?ssl=true",
            Address((("one", 26379),), "sentinel", "jobs", tls=Tls()),
        ),
    ],
)
def test_a_url_says_where(url: str, wanted: Address) -> None:
    assert address_of_url(url) == wanted


def test_a_login_is_decoded() -> None:
    found = address_of_url("redis://us%40er:p%3Ass%2F%25@host")

    assert (found.username, found.secret) == ("us@er", "p:ss/%")
    assert address_of_url("redis://:only@host").username is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://x", "begins with redis://"),
        ("redis:host", "begins with redis://"),
        ("redis://host:port", "host:port"),
        ("redis://host:99999", "port"),
        ("redis://host:0", "between 1 and 65535"),
        ("redis://host/one", "number of a database"),
        ("redis://host/1/2", "number of a database"),
        ("redis://host?what=1", "unknown option 'what'"),
        ("redis://host?cluster=maybe", "true or false"),
        ("redis://host/1?cluster=true", "database 0 only"),
        ("redis+sentinel://host", "names the service"),
        ("redis://host?namespace=a}b", "without braces"),
        ("redis://host?namespace=", "without braces"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        address_of_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@host:port",
        f"redis://user:{SECRET}#@host",
        f"redis://user:{SECRET}@host/x",
        f"http://user:{SECRET}@host",
        f"redis://user:{SECRET}",
    ],
)
def test_a_url_that_is_refused_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        address_of_url(url)

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_password_shows() -> None:
    found = address_of_url(f"redis://user:{SECRET}@host")

    assert SECRET not in repr(found)
    assert str(found) == "host:6379"
    assert found.secret == SECRET


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:p%40@host:7000/3?namespace=mine",
        "rediss://host?ssl_check_hostname=false&ssl_ca_certs=/ca",
        "redis://one:7000,two:7001?cluster=true",
        "rediss://one:7000?cluster=true",
        "redis+sentinel://u:p@one,[::1]:26380/jobs/2?ssl=true",
    ],
)
def test_another_process_gets_all_it_needs_as_json(url: str) -> None:
    client = RedisClient.from_url(url)
    args = json.loads(json.dumps(client.consumer_backend_args))

    assert args["backend"] == "redis"
    assert RedisClient(**args["kwargs"]).store.place == client.store.place


def test_all_keys_of_a_namespace_share_a_hash_tag() -> None:
    assert Address((("host", 1),), namespace="mine").base == "{mt1:mine}"
