"""What a node is told of the places of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from mindtrace.cluster.core.types import BackendArgs, Mark, RegisterNodeOutput

if TYPE_CHECKING:
    from mindtrace.cluster.settings import ClusterSettings, Places


def node_answer(
    places: Places, settings: ClusterSettings, args: BackendArgs, mark: Mark
) -> RegisterNodeOutput:
    """Return what a node needs; the passwords are in it."""
    registry = settings.node_registry_url or SecretStr(places.registry)
    answer = RegisterNodeOutput(
        registry_url=registry,
        backend_args=args,
        mark=mark if places.in_folder else None,
    )
    if registry.get_secret_value().startswith(("s3:", "s3s:")):
        parts = urlsplit(registry.get_secret_value())
        answer.endpoint = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        answer.access_key = unquote(parts.username or "")
        answer.secret_key = SecretStr(unquote(parts.password or ""))
        answer.bucket = parts.path.strip("/")
    if places.queue.startswith(("amqp:", "amqps:")):
        parts = urlsplit(places.queue)
        answer.rabbitmq_host = parts.hostname
        answer.rabbitmq_port = parts.port or settings.rabbitmq_port
        answer.rabbitmq_username = unquote(parts.username or "")
        answer.rabbitmq_password = SecretStr(unquote(parts.password or ""))
    return answer
