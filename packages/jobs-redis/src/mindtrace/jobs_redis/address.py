"""Where a Redis is and how to log in: from arguments or a URL, to a name without secrets and back.

Three kinds: one server, a primary found through Sentinel, a node of a Cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

PORT = 6379
SENTINEL_PORT = 26379
LARGEST_PORT = 65535

Kind = Literal["server", "sentinel", "cluster"]

_TLS_OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
_OPTIONS = {"namespace", "cluster", "ssl"} | _TLS_OPTIONS


class Tls(NamedTuple):
    """How a server proves itself, and the client to it; the server's name is checked."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """A place of jobs: servers, login, and the namespace there.

    Attributes:
        hosts: the server; or the Sentinels; or some nodes of the Cluster.
        kind: which of the three.
        service: what the Sentinels call the primary.
        tls: None for no encryption.
    """

    hosts: tuple[tuple[str, int], ...]
    kind: Kind = "server"
    service: str = ""
    db: int = 0
    username: str | None = None
    password: SecretStr | None = field(default=None)
    tls: Tls | None = None
    namespace: str = "default"

    def __post_init__(self) -> None:
        """Refuse what leads nowhere."""
        if not self.namespace or set(self.namespace) & set("{}"):
            message = f"a namespace is text without braces, not {self.namespace!r}"
            raise ValueError(message)
        if self.kind == "cluster" and self.db:
            message = "a Redis Cluster has database 0 only; keep jobs apart by namespace="
            raise ValueError(message)
        for _, port in self.hosts:
            if not 0 < port <= LARGEST_PORT:
                message = f"a port lies between 1 and 65535, not {port!r}"
                raise ValueError(message)

    def __str__(self) -> str:
        """Where it is, without credentials."""
        listed = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        return f"{listed}/{self.service}" if self.kind == "sentinel" else listed

    @property
    def base(self) -> str:
        """What the names of all keys of the namespace begin with: one slot of a Cluster."""
        return f"{{mt1:{self.namespace}}}"

    @property
    def secret(self) -> str | None:
        """The password in clear text, for the connection alone."""
        return self.password.get_secret_value() if self.password else None

    def to_kwargs(self) -> dict[str, Any]:
        """Return what `RedisClient(**kwargs)` needs in another process; the password is in it."""
        return {
            "url": self._url(),
            "username": self.username,
            "password": self.secret,
            "namespace": self.namespace,
            **(
                {f"ssl_{name}": value for name, value in self.tls._asdict().items()}
                if self.tls
                else {}
            ),
        }

    def _url(self) -> str:
        tls = "?ssl=true" if self.tls else ""
        if self.kind == "sentinel":
            return f"redis+sentinel://{self}/{self.db}{tls}"
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{self}/{self.db}{'?cluster=true' if self.kind == 'cluster' else ''}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def secret_of(password: str | SecretStr | None) -> SecretStr | None:
    """Return a password that shows in no repr."""
    return SecretStr(password) if isinstance(password, str) else password


def address_of_url(url: str) -> Address:
    """Return the place that a URL describes.

    `redis://[user:password@]host[:port][/db]`, `rediss://...` with TLS, `?cluster=true` for a
    Cluster, `redis+sentinel://[user:password@]host[:port][,host...]/service[/db][?ssl=true]`;
    `?namespace=` and the TLS options `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`,
    `ssl_check_hostname` with each.

    Raises:
        ValueError: it is no such URL; the message does not show it, for it may hold a password.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("redis", "rediss", "redis+sentinel"):
        message = "a Redis URL begins with redis://, rediss:// or redis+sentinel://"
        raise ValueError(message)
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - _OPTIONS:
        message = f"unknown option {min(unknown)!r} in a Redis URL; known: {sorted(_OPTIONS)}"
        raise ValueError(message)
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    sentinel = scheme == "redis+sentinel"
    path = [unquote(part) for part in parts.path.split("/") if part]
    if sentinel and not path:
        message = "a redis+sentinel URL names the service: redis+sentinel://host:26379/service"
        raise ValueError(message)
    service = path.pop(0) if sentinel else ""
    return Address(
        hosts=_hosts(hosts, SENTINEL_PORT if sentinel else PORT),
        kind="sentinel" if sentinel else "cluster" if _is_true(options, "cluster") else "server",
        service=service,
        db=_database(path),
        username=unquote(username) or None,
        password=secret_of(unquote(password) or None),
        tls=_tls(options) if scheme == "rediss" or _is_true(options, "ssl") else None,
        namespace=options.get("namespace", "default"),
    )


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for each in text.split(","):
        try:
            parts = urlsplit(f"//{each}")
            found.append(
                (parts.hostname or "localhost", port if parts.port is None else parts.port)
            )
        except ValueError:
            # not chained: the parser's own message quotes what may be a part of a password
            message = "a Redis URL has host:port after its login, the port a number to 65535"
            raise ValueError(message) from None
    return tuple(found)


def _database(path: list[str]) -> int:
    if not path:
        return 0
    if len(path) > 1 or not path[0].isdecimal():
        message = "the path of a Redis URL is the number of a database: redis://host:6379/0"
        raise ValueError(message)
    return int(path[0])


def _is_true(options: dict[str, str], name: str) -> bool:
    text = options.get(name, "false").lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        message = f"{name} in a Redis URL is true or false, not {text!r}"
        raise ValueError(message)
    return text in ("true", "1", "yes")


def _tls(options: dict[str, str]) -> Tls:
    files = [options.get(f"ssl_{name}") for name in ("ca_certs", "certfile", "keyfile")]
    checked = _is_true({"ssl_check_hostname": "true", **options}, "ssl_check_hostname")
    return Tls(files[0], files[1], files[2], checked)
