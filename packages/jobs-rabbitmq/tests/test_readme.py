"""The Python of the README runs against a broker, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindtrace.jobs import RabbitMQClient

pytestmark = pytest.mark.rabbitmq

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def page(
    url: str, namespace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What the Python of the page leaves, run from top to bottom."""
    monkeypatch.setenv("MINDTRACE_JOBS__BACKEND_URL", url)
    # the broker has other users: an exchange of our own
    text = README.read_text(encoding="utf-8").replace('"uploads"', f'"{namespace}"')
    names: dict[str, Any] = {"__name__": "readme"}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
        if "first" not in names:
            names["first"] = names["orchestrator"].backend
    names["printed"] = capsys.readouterr().out
    yield names
    names["first"].close()


def test_the_quick_start_runs_on_the_broker(page: dict[str, Any], client: RabbitMQClient) -> None:
    assert type(page["first"]) is type(client)
    assert page["printed"] == "3\n"
    assert client.queue_stats("adding").ready == 0


def test_the_queues_are_declared_as_it_says(page: dict[str, Any], client: RabbitMQClient) -> None:
    page["declare"](client)

    found = {name: each.queue_type for name, each in client.store.queues().items()}
    assert found == {"adding": "fifo", "plain": "fifo", "urgent": "priority", "safe": "fifo"}


def test_messages_are_routed_as_it_says(
    page: dict[str, Any], client: RabbitMQClient, namespace: str
) -> None:
    try:
        page["route"](client)
        assert client.count_exchanges(exchange=namespace) == 1
    finally:
        client.delete_exchange(exchange=namespace)
