from __future__ import annotations

from pathlib import Path

import pytest
from services_support import environment

from mindtrace.core import InvalidSettingError
from mindtrace.services.settings import ServicesSettings, is_loopback, services_settings


def settings_with(**variables: str) -> ServicesSettings:
    names = {f"MINDTRACE_SERVICES__{name.upper()}": value for name, value in variables.items()}
    with environment(**names):
        return services_settings()


def test_nothing_is_open_or_trusted_unless_said() -> None:
    settings = services_settings()

    assert settings.token() is None
    assert settings.allowed_hosts == settings.allowed_origins == settings.trusted_proxies == []
    assert (settings.max_body, settings.threads, settings.stop_within) == (16 << 20, 40, 10.0)


def test_settings_come_from_the_environment() -> None:
    settings = settings_with(
        api_token="sesame",
        allowed_hosts="one.example, two.example,",
        allowed_origins="https://App.example/, http://localhost:3000",
        trusted_proxies="10.0.0.0/8,::1",
        tls_certificate="/etc/certificate.pem",
        max_body="5",
        threads="7",
        stop_within="0",
    )

    assert settings.token() == "sesame"
    assert settings.allowed_hosts == ["one.example", "two.example"]
    assert settings.allowed_origins == ["https://app.example", "http://localhost:3000"]
    assert settings.trusted_proxies == ["10.0.0.0/8", "::1"]
    assert settings.tls_certificate == Path("/etc/certificate.pem")
    assert (settings.max_body, settings.threads, settings.stop_within) == (5, 7, 0)


@pytest.mark.parametrize("nothing", ["", "  ", "\n"])
def test_a_token_of_nothing_is_none(nothing: str) -> None:
    settings = settings_with(api_token=nothing, admin_token=nothing)

    assert settings.token() is None


def test_white_space_around_a_token_is_not_part_of_it() -> None:
    assert settings_with(api_token=" sesame\n").token() == "sesame"


def test_a_client_shows_the_strongest_token_there_is() -> None:
    assert settings_with(api_token="weak", admin_token="strong").token() == "strong"
    assert settings_with(admin_token="strong").token() == "strong"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_token", "open sesame"),
        ("admin_token", "sésame"),
        ("max_body", "0"),
        ("threads", "none"),
        ("trusted_proxies", "proxy.example"),
        ("trusted_proxies", "*"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_but_not_shown(name: str, value: str) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        settings_with(**{name: value})

    assert f"MINDTRACE_SERVICES__{name.upper()}" in str(caught.value)
    assert value == "0" or value not in str(caught.value)


def test_tokens_are_in_no_repr() -> None:
    settings = settings_with(api_token="sesame", admin_token="open")

    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "sesame" not in text
        assert "open" not in text


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::1%lo", "::ffff:127.0.0.1"],
)
def test_these_stand_for_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example", "", "127.1", "0"],
)
def test_these_do_not(host: str) -> None:
    assert not is_loopback(host)
