"""Where a service is: from a URL, from a host and a port, or from the settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import HttpUrl, ValidationError

if TYPE_CHECKING:
    from mindtrace.core.settings import Config

DEFAULT_URL = "http://localhost:8000"


def build_url(
    url: str | HttpUrl | None, host: str | None, port: int | None, default: HttpUrl
) -> HttpUrl:
    """Return where a service is; what is not given comes from the default.

    Raises:
        ValueError: A URL is given together with a host or a port, or it is none.
    """
    if url is not None:
        if host is not None or port is not None:
            message = "give either url= or host= and port=, not both"
            raise ValueError(message)
        return checked(str(url))
    if host is None and port is None:
        return default
    host = host or default.host or "localhost"
    port = default.port if port is None else port
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return checked(f"{default.scheme}://{shown}:{port}")


def checked(url: str) -> HttpUrl:
    """Return a URL of a service, without anything but scheme, host and port.

    Raises:
        ValueError: It is no such URL.
    """
    shown = re.sub(r"//[^/?#]*@", "//**********@", url)
    try:
        found = HttpUrl(url)
    except ValidationError as error:
        reason = error.errors(include_input=False)[0]["msg"]
        message = f"{shown!r} is no URL of a service such as http://localhost:8000 ({reason})"
        raise ValueError(message) from None
    if found.path not in (None, "", "/") or found.query or found.fragment or found.username:
        message = f"{shown!r} is no URL of a service: expected a scheme, a host and a port only"
        raise ValueError(message)
    return found


def default_url(cls_name: str, config: Config) -> HttpUrl:
    """Return where services of a class are unless said otherwise.

    `MINDTRACE_DEFAULT_HOST_URLS__CLUSTER_MANAGER` is that of the class `ClusterManager`.
    """
    urls = config.get("default_host_urls")
    setting = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls_name)
    found = urls.get(setting) if urls is not None else None
    return checked(str(found) if found else DEFAULT_URL)


def bare_host(url: HttpUrl) -> str:
    """Return the host of a URL as a socket takes it: an IPv6 address without brackets."""
    return (url.host or "localhost").removeprefix("[").removesuffix("]")


def port_of(url: HttpUrl) -> int:
    """Return the port of a URL."""
    return url.port if url.port is not None else (443 if url.scheme == "https" else 80)
