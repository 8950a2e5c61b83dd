"""`Access`: which ways git may go, and the token that it shows to whom."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from mindtrace.cluster.errors import InvalidSourceError
from mindtrace.cluster.git.source import TRANSPORTS

if TYPE_CHECKING:
    from mindtrace.cluster.git.source import Source
    from mindtrace.cluster.settings import ClusterSettings

TOKEN_VARIABLE = "MINDTRACE_GIT_TOKEN"  # noqa: S105 - its name
_HELPER = (
    '!f() { test "$1" = get && printf "username=x-access-token\\npassword=%s\\n" '
    f'"${TOKEN_VARIABLE}"; }}; f'
)
"""A credential helper: git runs it, and it answers from a variable that only git has."""

_SETTINGS = {
    # what somebody left in a clone or a template must not run
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    # a process that outlives its command would hold the clone, and the pipes
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    # a server that says nothing is given up
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What git may use.

    Attributes:
        transports: The ways to a repository and to its submodules.
        token: What opens private repositories.
        token_for: Who is shown it: hosts, or hosts with an owner.
    """

    transports: frozenset[str] = frozenset({"https", "ssh", "file"})
    token: SecretStr | None = None
    token_for: tuple[str, ...] = ("github.com",)

    @classmethod
    def of(cls, settings: ClusterSettings) -> Self:
        """Return what the settings say, and the variables of Git workers of old.

        Raises:
            ValueError: A transport is unknown.
        """
        unknown = sorted(set(settings.git_transports) - set(TRANSPORTS))
        if unknown:
            message = (
                f"MINDTRACE_CLUSTER__GIT_TRANSPORTS names {', '.join(unknown)}: expected some of "
                f"{', '.join(TRANSPORTS)}"
            )
            raise ValueError(message)
        token, token_for = settings.git_token, settings.git_token_for
        if token is None and (older := os.environ.get("GIT_FINE_GRAINED_TOKEN")):
            token = SecretStr(older)
        if owners := os.environ.get("GIT_ALLOWED_OWNERS"):
            token_for = [f"github.com/{each.strip()}" for each in owners.split(",")]
        return cls(
            frozenset(settings.git_transports), token, tuple(each.lower() for each in token_for)
        )

    def check(self, source: Source) -> None:
        """Return if a repository may be reached.

        Raises:
            InvalidSourceError: Not by that transport.
        """
        if source.transport not in self.transports:
            problem = (
                f"the transport {source.transport} is not among those of "
                "MINDTRACE_CLUSTER__GIT_TRANSPORTS"
            )
            raise InvalidSourceError("repository", source.url, problem)

    def variables(self, source: Source) -> dict[str, str]:
        """Return the variables that git needs for a repository; the token is among them."""
        ways = self.transports if source.transport == "file" else self.transports - {"file"}
        settings = list(_SETTINGS.items())
        variables = {
            # holds for submodules as well
            "GIT_ALLOW_PROTOCOL": ":".join(sorted(ways)),
            # what a command replaced in the clone is not checked out
            "GIT_NO_REPLACE_OBJECTS": "1",
            # nobody is there to be asked
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS_REQUIRE": "never",
        }
        if self.token is not None and self._shows_token(source):
            host = source.owner.partition("/")[0]
            # the empty one first: other helpers would be asked to store the token
            settings += [(f"credential.https://{host}.helper", each) for each in ("", _HELPER)]
            variables[TOKEN_VARIABLE] = self.token.get_secret_value()
        return variables | _as_variables(settings)

    def _shows_token(self, source: Source) -> bool:
        host = source.owner.partition("/")[0]
        return source.transport == "https" and not {host, source.owner}.isdisjoint(self.token_for)


def _as_variables(settings: list[tuple[str, str]]) -> dict[str, str]:
    """Return settings of git as variables, after those that are set so already."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings, start=first):
        variables[f"GIT_CONFIG_KEY_{number}"] = name
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
