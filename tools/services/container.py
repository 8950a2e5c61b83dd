"""Holds one container for as long as its standard input is open: a script of its own.

It says two lines: `engine` when a Docker engine answers, then `HOST:PORT`, the way into the
container. When whoever started this ends, however it ends, so does the container.
"""

import logging
import os
import sys
from typing import Any

import docker
from docker.errors import DockerException

# Its helper container needs the engine's socket and one more image; we clean up ourselves.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"

from testcontainers.core.container import DockerContainer
from testcontainers.core.exceptions import ContainerStartException

ANSWERS_WITHIN = 2
REFUSED = "no: "


def main(image: str, port: int) -> None:
    """Run an image until the standard input ends; say nothing more, or why not, and end."""
    logging.disable()
    if answers():
        say("engine")
        try:
            hold(image, port)
        except (DockerException, ContainerStartException, OSError) as error:
            say(f"{REFUSED}{' '.join(str(error).split())[:200]}")


def answers() -> bool:
    """Tell whether there is a Docker engine."""
    try:
        engine: Any = docker.from_env(timeout=ANSWERS_WITHIN)  # its own types are incomplete
        return bool(engine.ping())
    except DockerException:
        return False


def hold(image: str, port: int) -> None:
    """Run an image until the standard input ends."""
    with DockerContainer(image).with_exposed_ports(port) as container:
        say(f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}")
        sys.stdin.read()


def say(line: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
