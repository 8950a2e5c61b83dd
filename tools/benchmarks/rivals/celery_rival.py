"""Celery on Redis or RabbitMQ: late acknowledgement, no results, a prefetch for short tasks."""

from importlib import import_module
from typing import Any

from tools.benchmarks.rivals.order import PREFIX, URL, handled, timed

app: Any = import_module("celery").Celery(broker=URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=PREFIX,
    worker_prefetch_multiplier=128,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options=(
        {"global_keyprefix": f"{PREFIX}:"} if URL.startswith("redis") else {"confirm_publish": True}
    ),
)


@app.task
def work(_: dict[str, Any]) -> None:
    """Do nothing with a job."""
    handled()


def publish(values: list[dict[str, Any]]) -> float:
    """Call the task later, once a value."""
    return timed(work.delay, values)
