"""Whether a server answers at an address. A short question: the servers are near, or not there."""

import socket
from typing import Any
from urllib.parse import urlsplit

import docker
import pika
import redis
import requests
from docker.errors import DockerException
from pika.exceptions import AMQPError

PATIENCE = 2.0


def redis_answers(url: str, **options: str) -> bool:
    """Tell whether a Redis answers a PING with the credentials of the address."""
    limits = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
    with redis_client(url, **limits, **options) as client:
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False


def redis_client(url: str, **options: Any) -> Any:
    """Return a client of redis-py, whose own types are incomplete."""
    untyped: Any = redis.Redis
    return untyped.from_url(url, **options)


def rabbitmq_answers(url: str) -> bool:
    """Tell whether a RabbitMQ accepts the credentials of the address."""
    where = urlsplit(url)
    if not accepts(where.hostname or "localhost", where.port or 5672):
        return False
    settings = pika.URLParameters(url)
    settings.socket_timeout = PATIENCE
    settings.stack_timeout = 3 * PATIENCE
    settings.connection_attempts = 1
    try:
        pika.BlockingConnection(settings).close()
    except (AMQPError, OSError):
        return False
    return True


def docker_answers(url: str) -> bool:
    """Tell whether a Docker engine answers."""
    # docker-py leaves its socket open when nobody listens
    if url.startswith("unix://") and not _listens(url.removeprefix("unix://")):
        return False
    untyped: Any = docker.APIClient  # its own types are incomplete
    # a version that is said is not asked for: nothing is opened before there is what closes it
    engine = untyped(base_url=url, version="1.40", timeout=PATIENCE)
    try:
        return bool(engine.ping())
    except (DockerException, requests.RequestException, OSError):
        return False
    finally:
        engine.close()


def registry_answers(url: str) -> bool:
    """Tell whether a registry of images answers, and not something else."""
    try:
        answer = requests.get(f"{url}/v2/", timeout=PATIENCE)
    except requests.RequestException:
        return False
    return answer.ok and "Docker-Distribution-Api-Version" in answer.headers


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(path)
        except OSError:
            return False
    return True


def accepts(host: str, port: int) -> bool:
    """Tell whether somebody accepts connections; pika tells its log at length when nobody does."""
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError:
        return False
    return True
