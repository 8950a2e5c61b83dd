from __future__ import annotations

import pytest
from services_support import environment

from mindtrace.services import Service
from mindtrace.services.urls import bare_host, build_url, checked, port_of

DEFAULT = checked("http://localhost:8000")


class EchoHTTPService(Service):
    """A name with a word in capitals."""


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://localhost:8000/"),
        ({"url": "http://example.org:1234"}, "http://example.org:1234/"),
        ({"url": "https://example.org"}, "https://example.org/"),
        ({"url": DEFAULT}, "http://localhost:8000/"),
        ({"host": "0.0.0.0"}, "http://0.0.0.0:8000/"),
        ({"port": 0}, "http://localhost:0/"),
        ({"host": "::1", "port": 5}, "http://[::1]:5/"),
        ({"host": "[::1]", "port": 5}, "http://[::1]:5/"),
    ],
)
def test_what_is_not_given_comes_from_the_default(given: dict[str, str], url: str) -> None:
    arguments = {"url": None, "host": None, "port": None} | given

    assert str(build_url(**arguments, default=DEFAULT)) == url


@pytest.mark.parametrize("given", [{"host": "x"}, {"port": 1}, {"host": "x", "port": 1}])
def test_a_url_and_its_parts_together_are_refused(given: dict[str, str]) -> None:
    arguments = {"host": None, "port": None} | given

    with pytest.raises(ValueError, match="give either url= or host= and port="):
        build_url("http://localhost:1", **arguments, default=DEFAULT)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://localhost:70000",
        "http://localhost/path",
        "http://localhost?query",
        "http://localhost#fragment",
        "",
    ],
)
def test_what_is_no_url_of_a_service_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of a service") as caught:
        checked(url)

    assert repr(url) in str(caught.value)


def test_a_password_in_a_url_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="is no URL of a service") as caught:
        checked("http://user:sesame@localhost:8000")

    assert "sesame" not in str(caught.value)


def test_the_settings_say_where_services_of_a_class_are() -> None:
    with environment(MINDTRACE_DEFAULT_HOST_URLS__ECHO_HTTP_SERVICE="http://elsewhere:7"):
        assert str(EchoHTTPService.default_url()) == "http://elsewhere:7/"
        assert str(EchoHTTPService.build_url(port=8)) == "http://elsewhere:8/"
        assert str(EchoHTTPService().url) == "http://elsewhere:7/"
    assert str(EchoHTTPService.default_url()) == "http://localhost:8000/"


def test_hosts_and_ports_are_as_sockets_take_them() -> None:
    assert bare_host(checked("http://[::1]:80")) == "::1"
    assert [port_of(checked(each)) for each in ("http://x", "https://x", "http://x:9")] == [
        80,
        443,
        9,
    ]
