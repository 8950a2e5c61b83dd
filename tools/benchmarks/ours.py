"""Ours: `Orchestrator` and `Consumer` on a client, with the defaults that a user gets."""

from itertools import cycle, islice
from time import perf_counter
from typing import Any

from mindtrace.jobs import Consumer, JobDict, Orchestrator, OrchestratorBackend, job_from_schema
from tools.benchmarks.contestants import FILL_AT_ONCE
from tools.benchmarks.payload import QUEUE, SCHEMA, Shot, shots


class Nothing(Consumer):
    """Does nothing with a job."""

    def run(self, job_dict: JobDict) -> None:
        """Do nothing."""


class Ours:
    """The schema is registered: inputs are validated on both sides."""

    name = "mindtrace.jobs"

    def __init__(
        self, client: OrchestratorBackend, queue_type: str | None = None, **options: Any
    ) -> None:
        self.orchestrator = Orchestrator(client)
        self.orchestrator.register(SCHEMA, queue_type, **options)
        self.consumer = Nothing(QUEUE)
        self.consumer.connect(self.orchestrator)
        self._shots = shots(FILL_AT_ONCE)

    def publish(self, count: int) -> float:
        """Publish inputs, one call each."""
        publish, inputs = self.orchestrator.publish, self._inputs(count)
        began = perf_counter()
        for each in inputs:
            publish(QUEUE, each)
        return perf_counter() - began

    def publish_jobs(self, count: int) -> float:
        """Make a `Job` of each input and publish that."""
        publish, inputs = self.orchestrator.publish, self._inputs(count)
        began = perf_counter()
        for each in inputs:
            publish(QUEUE, job_from_schema(SCHEMA, each))
        return perf_counter() - began

    def publish_many(self, count: int) -> float:
        """Publish inputs, 1000 in a call."""
        everything = self._inputs(count)
        batches = [everything[at : at + FILL_AT_ONCE] for at in range(0, count, FILL_AT_ONCE)]
        began = perf_counter()
        for inputs in batches:
            self.orchestrator.publish_many(QUEUE, inputs)
        return perf_counter() - began

    def fill(self, count: int) -> None:
        """Publish inputs, 1000 in a call."""
        self.publish_many(count)

    def consume(self, count: int) -> float:
        """Consume jobs with the handler that does nothing."""
        began = perf_counter()
        handled = self.consumer.consume(num_messages=count)
        took = perf_counter() - began
        if handled != count:
            raise KeyboardInterrupt  # only a signal makes it return early
        return took

    def empty(self) -> None:
        """Remove what is left over."""
        self.orchestrator.clean_queue(QUEUE)

    def close(self) -> None:
        """Close the client."""
        self.consumer.close()
        self.orchestrator.close()

    def _inputs(self, count: int) -> list[Shot]:
        return list(islice(cycle(self._shots), count))
