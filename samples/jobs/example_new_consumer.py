"""One consumer, three backends: each gives it the engine that fits, and nothing else changes.

    python samples/jobs/example_new_consumer.py [--backend-url URL]...

Without a URL it tries all three: Local in memory, and Redis and RabbitMQ at their usual addresses
on this machine. One that cannot be reached says why, and the exit code is 1.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from mindtrace.core import MindtraceError
from mindtrace.jobs import Consumer, JobSchema, Orchestrator, backend_from_url

URLS = ("memory://", "redis://localhost:6379", "amqp://user:password@localhost:5672")
NAMES = {"memory": "Local", "sqlite": "Local", "redis": "Redis", "rediss": "Redis"} | {
    "redis+sentinel": "Redis",
    "amqp": "RabbitMQ",
    "amqps": "RabbitMQ",
}
PATIENCE = 10.0


class Greeting(BaseModel):
    """What goes in."""

    name: str = "world"


GREETINGS = JobSchema(name="example_new_consumer", input_schema=Greeting)


class Greeter(Consumer):
    """Runs the jobs, wherever they come from."""

    def run(self, job_dict: dict[str, Any]) -> None:
        """Run one job."""
        assert job_dict["payload"]["name"] == "world"


def try_out(backend_url: str) -> str:
    """Publish one job, run it, and return the name of the engine that ran it."""
    orchestrator = Orchestrator(backend_from_url(backend_url))
    try:
        queue = orchestrator.register(GREETINGS)
        orchestrator.publish(queue, Greeting())
        greeter = Greeter()
        greeter.connect_to_orchestrator(orchestrator, queue)
        handled = greeter.consume(num_messages=1, timeout=PATIENCE)
        orchestrator.delete_queue(queue)
    finally:
        orchestrator.close()
    assert handled == 1
    return type(greeter.consumer_backend).__name__


def main(backend_urls: Sequence[str]) -> bool:
    """Try each backend, print how it went, and tell whether all went well."""
    successes = 0
    for url in backend_urls:
        scheme = url.partition("://")[0]
        name = NAMES.get(scheme, scheme)
        try:
            print(f"✓ {name}: success - Created {try_out(url)}")
            successes += 1
        except (MindtraceError, ImportError) as error:
            print(f"✗ {name}: failed - {error}")
    return successes == len(backend_urls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend-url", action="append", metavar="URL")
    raise SystemExit(not main(parser.parse_args().backend_url or URLS))
