"""Retries and dead letters: what becomes of a job whose handler raises.

python samples/jobs/retries_and_dead_letters.py
"""

from pydantic import BaseModel

from mindtrace.jobs import JobSchema, LocalClient, Orchestrator, Reject, Retry, RetryPolicy, handler


class Download(BaseModel):
    """What goes in."""

    url: str


DOWNLOAD = JobSchema(name="download", input_schema=Download)
PATIENT = RetryPolicy(max_attempts=3, backoff=0.2, factor=2, jitter=0, on=(ConnectionError,))

attempts: dict[str, int] = {}
online = False


@handler(DOWNLOAD, retry=PATIENT)
def download(job: Download) -> None:
    """Run one job: each URL meets another fate."""
    attempts[job.url] = attempt = attempts.get(job.url, 0) + 1
    print(f"  attempt {attempt}: {job.url}")
    match job.url:
        case "flaky" if attempt == 1:
            raise ConnectionError("reset by peer")  # covered by the policy: again after 0.2 s
        case "busy" if attempt == 1:
            raise Retry(after=0.5)  # the handler knows better when
        case "offline" if not online:
            raise ConnectionError("no route to host")  # all three attempts fail
        case "typo":
            raise ValueError("not a URL")  # not covered by the policy: one attempt
        case "forbidden":
            raise Reject("no permission")  # another attempt would never help
        case _:
            print(f"  done: {job.url}")


def show_dead_letters(orchestrator: Orchestrator) -> None:
    """List what failed; nothing is forgotten until it is requeued or discarded."""
    print("dead letters:")
    for letter in orchestrator.dead_letters(DOWNLOAD.name):
        url = letter.job.payload["url"] if letter.job else letter.body
        print(f"  {url}: {letter.reason} after {letter.attempts} attempts: {letter.message}")


if __name__ == "__main__":
    orchestrator = Orchestrator(LocalClient.in_memory())
    download.connect(orchestrator)
    ids = {
        url: orchestrator.publish(DOWNLOAD.name, Download(url=url))
        for url in ("fine", "flaky", "busy", "offline", "typo", "forbidden")
    }
    download.consume(timeout=2)  # long enough for the pauses; `consume()` would go on for ever
    show_dead_letters(orchestrator)

    online = True
    print("back online:")
    orchestrator.requeue_dead_letters(DOWNLOAD.name, ids["offline"])
    download.consume_until_empty()

    print(f"discarded: {orchestrator.discard_dead_letters(DOWNLOAD.name)}")
    show_dead_letters(orchestrator)
