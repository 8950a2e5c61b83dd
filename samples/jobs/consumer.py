"""Two terminals, part two: run the jobs of `producer.py`, waiting for more until Ctrl-C.

    python samples/jobs/consumer.py [--until-empty] [--backend-url sqlite:///./demo-jobs]

Start several: each job runs in one of them. Kill one: the others run its jobs.
"""

import argparse
import os
from time import sleep  # noqa: TID251 - it stands for some work

from producer import GREETINGS, URL, Greeting

from mindtrace.jobs import Orchestrator, backend_from_url, handler


@handler(GREETINGS)
def greet(greeting: Greeting) -> None:
    """Run one job."""
    sleep(0.1)  # some work
    print(
        f"process {os.getpid()}: hello {greeting.name}, this is job {greeting.number}", flush=True
    )


def main(backend_url: str, *, until_empty: bool) -> None:
    """Consume; the first Ctrl-C finishes the job in hand and gives the others back."""
    greet.connect(Orchestrator(backend_from_url(backend_url)))
    handled = greet.consume_until_empty() if until_empty else greet.consume()
    print(f"{handled} jobs done")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until-empty", action="store_true", help="end when no job is ready")
    parser.add_argument("--backend-url", default=URL, metavar="URL")
    given = parser.parse_args()
    main(given.backend_url, until_empty=given.until_empty)
