"""What is asked of a server at the first connection: its time, and what it does with jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis.exceptions as native

from mindtrace.core import SystemClock

if TYPE_CHECKING:
    import logging

    from mindtrace.jobs_redis.address import Address
    from mindtrace.jobs_redis.connecting import Wire


def ask(connection: Wire, *command: Any) -> Any:
    """Send one command and return its answer."""
    connection.send_command(*command)
    return connection.read_response()


def skew_of(connection: Wire) -> float:
    """Return by how many seconds the server's clock is ahead of this machine's."""
    clock = SystemClock()
    before = clock.now()
    seconds, micros = ask(connection, "TIME")
    after = clock.now()
    return int(seconds) + int(micros) / 1e6 - (before + after) / 2


def warn(connection: Wire, address: Address, logger: logging.Logger) -> None:
    """Say in the log what of the server's settings loses jobs."""
    try:
        kept = _setting(connection, "appendonly")
        policy = _setting(connection, "maxmemory-policy")
    except native.ResponseError:
        logger.info("Redis at %s does not tell its settings; its durability is unknown.", address)
        return
    if kept == "no":
        logger.warning(
            "Redis at %s runs with appendonly off: a restart loses jobs. Set appendonly yes.",
            address,
        )
    if policy not in (None, "noeviction"):
        logger.warning(
            "Redis at %s evicts keys when memory is short (maxmemory-policy %s): jobs may vanish. "
            "Set maxmemory-policy noeviction.",
            address,
            policy,
        )


def _setting(connection: Wire, name: str) -> str | None:
    found = ask(connection, "CONFIG", "GET", name)
    return str(found[1]) if found else None
