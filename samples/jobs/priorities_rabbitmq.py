"""Priorities on RabbitMQ: `max_priority` says how many there are, and urgent jobs go first.

    python samples/jobs/priorities_rabbitmq.py [--backend-url amqp://user:password@localhost:5672]

The broker keeps the order; the consumer holds one job at a time, so that an urgent one published
while it works is the next.
"""

import argparse

from pydantic import BaseModel

from mindtrace.jobs import JobSchema, Orchestrator, backend_from_url, handler

URL = "amqp://user:password@localhost:5672"
PRIORITIES = {"tidy up": 1, "fix the leak": 10, "answer mail": 5, "call back": 5, "read": 0}


class Task(BaseModel):
    """What goes in."""

    title: str


TASK = JobSchema(name="priorities_rabbitmq", input_schema=Task)


@handler(TASK)
def work(task: Task) -> None:
    """Run one job."""
    print(f"  {PRIORITIES[task.title]:>3}  {task.title}")


def main(backend_url: str) -> None:
    """Publish five jobs, and run them in the order of their priorities."""
    orchestrator = Orchestrator(backend_from_url(backend_url))
    queue = orchestrator.register(TASK, max_priority=10)
    for title, priority in PRIORITIES.items():
        orchestrator.publish(queue, Task(title=title), priority=priority)
    try:
        orchestrator.publish(queue, Task(title="now!"), priority=11)
    except ValueError as error:
        print(f"refused: {error}")

    print("in this order:")
    work.connect(orchestrator)
    work.consume_until_empty()
    work.close()
    orchestrator.delete_queue(queue)
    orchestrator.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend-url", default=URL, metavar="URL")
    main(parser.parse_args().backend_url)
