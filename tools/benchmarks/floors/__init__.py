"""The floors: what the raw library of each store does for the same work, with nothing around it.

A process that consumes loads only the floor that it needs, so that its size and its start say
something.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.benchmarks.floors.base import Floor


def opened(kind: str, **words: str) -> "Floor":
    """Open the floor of a backend with what its class takes."""
    if kind == "redis":
        from tools.benchmarks.floors.redis import RedisFloor  # noqa: PLC0415 - see above

        return RedisFloor(**words)
    if kind == "rabbitmq":
        from tools.benchmarks.floors.rabbitmq import RabbitFloor  # noqa: PLC0415 - see above

        return RabbitFloor(**words)
    from tools.benchmarks.floors.sqlite import SqliteFloor  # noqa: PLC0415 - see above

    return SqliteFloor(**words)
