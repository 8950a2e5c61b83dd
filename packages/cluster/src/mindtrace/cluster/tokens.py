"""The tokens of a cluster: what opens a manager, a node or a worker, and what calls to them show.

Where no token is set, the services of a cluster on one machine still open to their own user alone:
a file that only that user can read holds a secret, from which each service and its clients derive
the same token. The derived token is for one port, so a service of somebody else that a client calls
by mistake learns nothing that would open another one.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import TYPE_CHECKING

from mindtrace.cluster.errors import ClusterError
from mindtrace.cluster.settings import cluster_settings
from mindtrace.services.keys import Key, key, keys_of
from mindtrace.services.settings import is_loopback, services_settings
from mindtrace.services.urls import bare_host, port_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import HttpUrl, SecretStr

    from mindtrace.core.settings import Config
    from mindtrace.services import Service

SUBMIT, NODE = "MINDTRACE_CLUSTER__SUBMIT_TOKEN", "MINDTRACE_CLUSTER__NODE_TOKEN"
OWN = (
    "MINDTRACE_SERVICES__API_TOKEN on both sides, or call as the user that launched it and with "
    "the same MINDTRACE_DIR_PATHS__ROOT"
)


def manager_keys(config: Config) -> list[Key]:
    """Return what the settings open a manager with."""
    settings = cluster_settings(config)
    return [
        *keys_of(services_settings(config)),
        *key(SUBMIT, settings.submit_token, "submit"),
        *key(NODE, settings.node_token, "node", "api"),
    ]


def member_keys(config: Config) -> list[Key]:
    """Return what the settings open a node or a worker with: the manager has the node token."""
    return [
        *keys_of(services_settings(config)),
        *key(NODE, cluster_settings(config).node_token),
    ]


def with_own_key(keys: list[Key], service: Service) -> list[Key]:
    """Add the key of this user to those of a service, where nothing opens it wholly yet.

    One that is open to everybody by `insecure=True` stays so, unless a token is set.
    """
    if (service.insecure and not keys) or any(each.opens is None for each in keys):
        return keys
    return [*keys, Key(OWN, _derived(_made(_file(service.config)), service.url))]


def own_token(url: HttpUrl, config: Config) -> str | None:
    """Return what this user's calls show to a service at a URL of this machine; None elsewhere."""
    if not is_loopback(bare_host(url)):
        return None
    try:
        secret = _file(config).read_bytes()
    except OSError:  # no service of this user was ever launched here, or it is another's file
        return None
    return _derived(secret, url).decode()


def client_tokens(url: HttpUrl, general: list[str], config: Config) -> list[str]:
    """Return what clients may show to a manager, what opens most first.

    Args:
        url: Where it is.
        general: What the settings have for all services.
        config: The settings.
    """
    submit = cluster_settings(config).submit_token
    return [*general, *_own(url, config), *_shown(submit)]


def member_tokens(url: HttpUrl, general: list[str], config: Config) -> list[str]:
    """Return what members of a cluster may show to each other; as little as will do first."""
    node = cluster_settings(config).node_token
    return [*_shown(node), *general, *_own(url, config)]


def _own(url: HttpUrl, config: Config) -> list[str]:
    found = own_token(url, config)
    return [] if found is None else [found]


def _shown(token: SecretStr | None) -> list[str]:
    return [] if token is None else [token.get_secret_value()]


def _file(config: Config) -> Path:
    return config.dir_paths.root.absolute() / "clusters" / "secret"


def _made(file: Path) -> bytes:
    """Return the secret; made if there is none yet."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            # whole or not at all, and the same for all who make it at this moment
            new = file.with_name(f".{secrets.token_hex(8)}")
            new.touch(mode=0o600)
            new.write_bytes(secrets.token_hex(32).encode())
            try:
                os.link(new, file)
            except FileExistsError:
                pass
            finally:
                new.unlink()
        return file.read_bytes()
    except OSError as error:
        message = (
            f"the secret of this user's clusters at {file} cannot be used ({error}): make its "
            "folder writable, or set MINDTRACE_SERVICES__API_TOKEN"
        )
        raise ClusterError(message) from error


def _derived(secret: bytes, url: HttpUrl) -> bytes:
    return hmac.digest(secret, f"port {port_of(url)}".encode(), "sha256").hex().encode()
