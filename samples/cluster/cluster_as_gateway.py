"""Jobs for endpoints: the manager is a gateway, and posts jobs of a type to a service behind it.

    python samples/cluster/cluster_as_gateway.py

No queue and no worker is involved that you would see. The service gets the whole job, with what it
is about in `payload`; its answer is the outcome, and `submit_job` returns it.
"""

from collections import Counter
from contextlib import ExitStack

from pydantic import BaseModel

from mindtrace.cluster import ClusterManager
from mindtrace.jobs import JobSchema, job_from_schema
from mindtrace.services import Service, endpoint
from mindtrace.services.samples.echo_service import EchoInput, EchoService


class Text(BaseModel):
    """What a job is about."""

    text: str


class TextJob(BaseModel):
    """As much of a job as the service needs."""

    id: str
    payload: Text


class Words(BaseModel):
    """What comes out."""

    most_common: list[str]


class WordService(Service):
    """Knows something about texts."""

    @endpoint("/run")
    def run(self, job: TextJob) -> Words:
        """Return the words of a text, the most common ones first."""
        counted = Counter(job.payload.text.lower().split())
        return Words(most_common=[word for word, _ in counted.most_common()])


WORDS = JobSchema(name="words", input_schema=Text, output_schema=Words)


def main() -> None:
    """Route jobs to a service, call another one through the gateway, and see one fail."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterManager.launch(port=0))
        words = stack.enter_context(WordService.launch(port=0))
        echo = stack.enter_context(EchoService.launch(port=0))

        # register the service with the gateway, then say which path takes the jobs
        cluster.register_app(name="words", url=str(words.url))
        cluster.register_job_to_endpoint(job_type="words", endpoint="words/run")

        job = job_from_schema(WORDS, Text(text="to be or not to be"))
        status = cluster.submit_job(job)
        print(f"{status.status}: {status.output['most_common'][:2]}")

        # a service that is registered with its client is there for calls as well
        cluster.register_app(name="echo", url=str(echo.url), connection_manager=echo)
        print(f"through the gateway: {cluster.echo.echo(EchoInput(message='hello'))}")

        # what the service refuses is a failed job: it is in the dead letters, and can be requeued
        status = cluster.submit_job(job_from_schema(JobSchema(name="words"), {"txet": "oops"}))
        print(f"{status.status}: HTTP {status.output['http']}")
        print(f"dead letters: {len(cluster.get_dlq_jobs().jobs)}")

        cluster.clear_databases()


if __name__ == "__main__":
    main()
