"""Where a broker is and who asks: from arguments, from a URL, to a URL, for pika."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import pika
from pydantic import SecretStr

from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs_rabbitmq.names import checked_namespace

PORT, TLS_PORT = 5672, 5671
LARGEST = 65535
"""The largest port, and the longest heartbeat that AMQP can ask for."""

SOCKET_WITHIN, OPEN_WITHIN = 5.0, 10.0
"""Seconds for the socket to connect, and for the whole connection to open."""

_TLS = ("cafile", "certfile", "keyfile", "verify")
_OPTIONS = ("namespace", "heartbeat", "ledger", *_TLS)
"""What may stand behind the question mark of a URL."""

_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


@dataclass(frozen=True, slots=True)
class Address:
    """A broker, a virtual host in it, and the credentials for it.

    Attributes:
        heartbeat: seconds without a sign of life after which each side drops the connection; 0 for
            never, None for the broker's own (60).
        tls: what `ssl.create_default_context` and `load_cert_chain` take: cafile, certfile,
            keyfile; `verify` "no" accepts any certificate.
        context: all of that, ready made.
    """

    host: str = "localhost"
    port: int = PORT
    username: str = "user"
    password: SecretStr = field(default_factory=lambda: SecretStr("password"))
    vhost: str = "/"
    secure: bool = False
    heartbeat: int | None = None
    namespace: str = ""
    tls: tuple[tuple[str, str], ...] = ()
    context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        """Refuse what leads nowhere."""
        if not 0 < self.port <= LARGEST:
            message = f"a port lies between 1 and {LARGEST}, not {self.port!r}"
            raise ValueError(message)
        if self.heartbeat is not None and not 0 <= self.heartbeat <= LARGEST:
            message = f"heartbeat takes seconds from 0 (none) to {LARGEST}, not {self.heartbeat!r}"
            raise ValueError(message)
        if self.tls and not self.secure:
            message = f"{self.tls[0][0]} goes with TLS: amqps://, or ssl=True"
            raise ValueError(message)
        if dict(self.tls).get("verify", "yes") not in (*_YES, *_NO):
            message = "verify in a RabbitMQ URL is yes or no"
            raise ValueError(message)
        checked_namespace(self.namespace)

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """Return the address of what was said; the usual port depends on the rest."""
        values: dict[str, Any] = {"port": TLS_PORT if said.get("secure") else PORT, **said}
        return cls(**values)

    @property
    def shown(self) -> str:
        """The address for messages and logs: no user, no password."""
        vhost = "" if self.vhost == "/" else f"/{quote(self.vhost, safe='')}"
        return f"{self._place}{vhost}"

    @property
    def url(self) -> str:
        """The address as a URL without user and password.

        Raises:
            NotImplementedError: it has an `SSLContext`, which no text can carry.
        """
        if self.context is not None:
            message = (
                "an SSLContext cannot be given to another process; "
                "say the files in a URL: amqps://host?cafile=..."
            )
            raise NotImplementedError(message)
        options = {"namespace": self.namespace, **dict(self.tls)}
        if self.heartbeat is not None:
            options["heartbeat"] = str(self.heartbeat)
        query = urlencode({name: value for name, value in options.items() if value})
        scheme = "amqps" if self.secure else "amqp"
        vhost = quote(self.vhost, safe="")
        return f"{scheme}://{self._place}/{vhost}{'?' if query else ''}{query}"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def parameters(self, purpose: str) -> pika.ConnectionParameters:
        """Return what pika needs; `purpose` is shown in the broker's list of connections.

        Raises:
            BackendUnavailableError: the files for TLS cannot be used.
        """
        extra: dict[str, Any] = {}
        if self.secure:
            extra["ssl_options"] = pika.SSLOptions(self._tls_context(), self.host)
        if self.heartbeat is not None:
            extra["heartbeat"] = self.heartbeat
        return pika.ConnectionParameters(
            host=self.host,
            port=self.port,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(self.username, self.password.get_secret_value()),
            connection_attempts=1,
            socket_timeout=SOCKET_WITHIN,
            stack_timeout=OPEN_WITHIN,
            client_properties={"connection_name": f"mindtrace {purpose}"},
            **extra,
        )

    def _tls_context(self) -> ssl.SSLContext:
        if self.context is not None:
            return self.context
        files = dict(self.tls)
        try:
            context = ssl.create_default_context(cafile=files.get("cafile"))
            if "certfile" in files:
                # without a password OpenSSL would ask for one on the terminal
                context.load_cert_chain(files["certfile"], files.get("keyfile"), password="")
        except OSError as error:
            reason = (
                f"its TLS files cannot be used ({error.strerror or type(error).__name__}); "
                "check cafile, certfile and keyfile"
            )
            raise BackendUnavailableError(
                "rabbitmq", self.shown, reason, transient=False
            ) from error
        if files.get("verify") in _NO:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def read_url(url: str) -> tuple[dict[str, Any], str | None]:
    """Return what a URL says of an address, and the URL of the ledger.

    `amqp://[user:password@]host[:port][/vhost]`, `amqps://...` with TLS; the vhost `/` may be left
    out. Behind a question mark: `namespace`, `heartbeat`, `cafile`, `certfile`, `keyfile`,
    `verify=no`, and `ledger`, a percent-encoded URL.

    Raises:
        ValueError: it is no such URL; the message repeats nothing of it but what is harmless.
    """
    if not url.startswith(("amqp://", "amqps://")):
        message = "a RabbitMQ URL begins with amqp:// or amqps://"
        raise ValueError(message)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # not chained: the parser's own message quotes what may be a part of a password
        message = (
            "a RabbitMQ URL has host:port after its login, the port a number to 65535; "
            "special characters in a password are percent-encoded"
        )
        raise ValueError(message) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= set(_OPTIONS):
        message = f"a RabbitMQ URL takes these options only: {', '.join(_OPTIONS)}"
        raise ValueError(message)
    found: dict[str, Any] = {
        "host": unquote(parts.hostname or ""),
        "port": port,
        "username": unquote(parts.username or ""),
        "password": SecretStr(unquote(parts.password)) if parts.password else None,
        "vhost": unquote(parts.path[1:]),
        "heartbeat": _seconds(options.get("heartbeat")),
        "namespace": options.get("namespace"),
        "tls": tuple((name, options[name]) for name in _TLS if name in options),
        "secure": parts.scheme == "amqps",
    }
    said = {name: value for name, value in found.items() if value not in (None, "", ())}
    return said, options.get("ledger")


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        message = "heartbeat in a RabbitMQ URL is a number of seconds"
        raise ValueError(message)
    return int(text)


def secret_of(password: str | SecretStr | None) -> SecretStr | None:
    """Return a password that shows in no repr."""
    return SecretStr(password) if isinstance(password, str) else password
