"""Pulls an image, or says why it cannot be: a script of its own, which can be ended at any time."""

from __future__ import annotations

import sys
from typing import Any


# Any: docker-py has no types
def main(name: str) -> str | None:
    """Pull an image, and return what the engine says against it."""
    import docker  # noqa: PLC0415 - of an extra
    import requests  # noqa: PLC0415 - comes with docker-py
    from docker.errors import DockerException  # noqa: PLC0415 - of an extra

    try:
        api: Any = docker.from_env().api
        # a name without a tag would mean all of them
        tagged = ":" in name.rpartition("/")[2] or "@" in name
        for said in api.pull(name if tagged else f"{name}:latest", stream=True, decode=True):
            # the answer began by saying that all is well
            if "error" in said:
                return str(said["error"])
    except (DockerException, requests.RequestException) as error:
        return str(getattr(error, "explanation", None) or error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
