"""Quick start: a typed job from publishing to its outcome.

    python samples/jobs/quickstart.py [--backend-url sqlite:///./demo]

Every backend runs the same code: memory:// (the default), sqlite:///folder, redis://..., amqp://...
"""

import argparse
from typing import Any

from pydantic import BaseModel

from mindtrace.jobs import Consumer, JobSchema, Orchestrator, backend_from_url, job_from_schema


class MathsInput(BaseModel):
    """What goes in."""

    operation: str = "add"
    a: float = 2.0
    b: float = 1.0


class MathsOutput(BaseModel):
    """What comes out."""

    result: float
    operation_performed: str


MATHS = JobSchema(name="maths_quickstart", input_schema=MathsInput, output_schema=MathsOutput)


class MathsConsumer(Consumer):
    """Runs the jobs."""

    def run(self, job_dict: dict[str, Any]) -> dict[str, Any]:
        """Run one job: its payload has been validated, and so will be what is returned."""
        values = job_dict["payload"]
        operation, a, b = values["operation"], values["a"], values["b"]
        result = {"add": a + b, "multiply": a * b}[operation]
        performed = f"{operation}({a}, {b}) = {result}"
        print(f"consumed: {performed}")
        return {"result": result, "operation_performed": performed}


def main(backend_url: str) -> None:
    """Publish three jobs and run them."""
    orchestrator = Orchestrator(backend_from_url(backend_url))
    queue = orchestrator.register(MATHS)

    job = job_from_schema(MATHS, MathsInput(operation="multiply", a=7, b=3))
    print(f"published {orchestrator.publish(queue, job)}")
    print(f"published {orchestrator.publish(queue, MathsInput(a=40, b=2))}")
    orchestrator.publish(queue, MathsInput(operation="divide"))
    print(f"{orchestrator.count_queue_messages(queue)} jobs wait in queue {queue!r}")

    consumer = MathsConsumer()
    consumer.connect_to_orchestrator(orchestrator, queue)
    consumer.consume_until_empty()

    for letter in orchestrator.dead_letters(queue):
        print(f"dead letter {letter.job_id}: {letter.error_type}: {letter.message}")
    orchestrator.delete_queue(queue)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend-url", default="memory://", metavar="URL")
    main(parser.parse_args().backend_url)
