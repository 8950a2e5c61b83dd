"""Two terminals, part one: publish jobs for `consumer.py`, which may run already, or later.

    python samples/jobs/producer.py [--jobs 20] [--backend-url sqlite:///./demo-jobs]

The jobs lie in the folder ./demo-jobs until a consumer has done them; remove it when you are done.
"""

import argparse

from pydantic import BaseModel

from mindtrace.jobs import JobSchema, Orchestrator, backend_from_url

URL = "sqlite:///./demo-jobs"


class Greeting(BaseModel):
    """What goes in."""

    number: int
    name: str = "world"


GREETINGS = JobSchema(name="greetings", input_schema=Greeting)


def main(backend_url: str, count: int) -> None:
    """Publish so many jobs."""
    orchestrator = Orchestrator(backend_from_url(backend_url))
    queue = orchestrator.register(GREETINGS)
    orchestrator.publish_many(queue, [Greeting(number=number + 1) for number in range(count)])
    stats = orchestrator.queue_stats(queue)
    print(f"published {count} jobs; {stats.ready} wait now, consumers hold {stats.leased}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20, metavar="N")
    parser.add_argument("--backend-url", default=URL, metavar="URL")
    given = parser.parse_args()
    main(given.backend_url, given.jobs)
