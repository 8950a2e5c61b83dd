"""The settings of services: the variables `MINDTRACE_SERVICES__...`."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from mindtrace.core.section import Section
from mindtrace.core.settings import Config, get_config


def _split(value: Any) -> Any:
    return (
        [each.strip() for each in value.split(",") if each.strip()]
        if isinstance(value, str)
        else value
    )


Words = Annotated[list[str], BeforeValidator(_split)]
"""Several words; in the environment with commas between them."""


def _origins(origins: list[str]) -> list[str]:
    return [each.rstrip("/").lower() for each in origins]


def _proxies(proxies: list[str]) -> list[str]:
    for each in proxies:
        try:
            ipaddress.ip_network(each)
        except ValueError:
            message = "each has to be an address, or a network such as 10.0.0.0/8"
            raise ValueError(message) from None
    return proxies


def _token(value: Any) -> Any:
    """Return a token without white space around it; one with nothing in it is none."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    token = text.strip()
    if token and not re.fullmatch(r"[\x21-\x7e]+", token):
        message = "a token takes the visible characters of ASCII, without spaces"
        raise ValueError(message)
    return SecretStr(token) if token else None


Token = Annotated[SecretStr | None, BeforeValidator(_token)]
"""A secret that fits into a header."""

Scope = Literal["open", "api", "admin", "submit", "node"]
"""Who may call an endpoint where a token is set: anybody; holders of the API token or the admin
token; holders of the admin token. Where only one of the tokens is set, it is the one for both.
The last two are for services that have tokens of their own for them, as the manager of a cluster;
elsewhere they are as `api`."""


class ServicesSettings(Section):
    """How services guard themselves and how they are reached.

    Attributes:
        api_token: What callers have to show, as `Authorization: Bearer ...`. Clients send it.
        admin_token: What callers of endpoints of the scope `admin` have to show instead. It opens
            everything; set alone, it is asked for everywhere.
        allowed_hosts: Names under which services may be called, beside their own and addresses.
        allowed_origins: Origins (`https://app.example.org`) whose pages may call services.
        trusted_proxies: Addresses or networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are
            believed.
        tls_certificate: A PEM file; with it, services speak https.
        tls_key: The PEM file of its key, if that is not in the same file.
        tls_ca: A PEM file of who is trusted to vouch for services; the system's, if not set.
        max_body: The most bytes that a request to an endpoint may have.
        threads: The most `def` handlers that run at the same time in a process.
        stop_within: Seconds that requests under way have to end when a service stops.
    """

    api_token: Token = None
    admin_token: Token = None
    allowed_hosts: Words = Field(default_factory=list[str])
    allowed_origins: Annotated[Words, AfterValidator(_origins)] = Field(default_factory=list[str])
    trusted_proxies: Annotated[Words, AfterValidator(_proxies)] = Field(default_factory=list[str])
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    max_body: int = Field(default=16 * 1024 * 1024, gt=0)
    threads: int = Field(default=40, gt=0)
    stop_within: float = Field(default=10.0, ge=0)

    def token(self) -> str | None:
        """Return what a client of this machine shows: the strongest token there is."""
        secret = self.admin_token or self.api_token
        return secret.get_secret_value() if secret else None


def services_settings(config: Config | None = None) -> ServicesSettings:
    """Return the settings of services; the environment is read if no config is given.

    Raises:
        InvalidSettingError: A value does not fit.
    """
    return (config or get_config()).section("services", ServicesSettings)


def is_loopback(host: str) -> bool:
    """Tell whether an address or name stands for this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    # an IPv4 address as a socket for both kinds writes it
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
