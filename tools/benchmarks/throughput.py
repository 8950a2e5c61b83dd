"""Jobs a second, ours beside the floor: publishing one by one, publishing many, consuming."""

from collections.abc import Iterator

from tools.benchmarks.contestants import Contestant
from tools.benchmarks.ours import Ours
from tools.benchmarks.pair import both
from tools.benchmarks.report import Row, rates
from tools.benchmarks.settings import Settings
from tools.benchmarks.turns import take_turns

AT_FULL = 5
"""With an fsync at each commit, turns of single publishes are shorter by this."""


def one_by_one(settings: Settings) -> int:
    """Return how many single publishes make a turn."""
    return settings.count // (AT_FULL if settings.synchronous == "full" else 1)


def publish(settings: Settings) -> Iterator[Row]:
    """Publish typed inputs one by one; then the same as `Job` objects."""
    count = one_by_one(settings)

    def as_input(contestant: Contestant) -> float:
        took = contestant.publish(count)
        contestant.empty()
        return took

    def as_job(contestant: Contestant) -> float:
        jobs = isinstance(contestant, Ours)
        took = contestant.publish_jobs(count) if jobs else contestant.publish(count)
        contestant.empty()
        return took

    with both(settings) as pair:
        mine, theirs = take_turns(pair[:2], as_input, settings.rounds)
        yield rates("publish, an input a call", count, mine, theirs, who="raw", bar=0.6)
        mine, theirs = take_turns(pair[:2], as_job, settings.rounds)
        yield rates("publish, job_from_schema a call", count, mine, theirs, who="raw", bar=None)


def publish_many(settings: Settings) -> Iterator[Row]:
    """Publish typed inputs 1000 at a time, beside transactions of 100 rows."""

    def work(contestant: Contestant) -> float:
        took = contestant.publish_many(settings.many)
        contestant.empty()
        return took

    with both(settings) as pair:
        mine, theirs = take_turns(pair[:2], work, settings.rounds)
        yield rates("publish_many (1000)", settings.many, mine, theirs, who="raw", bar=0.25)


def consume(settings: Settings) -> Iterator[Row]:
    """Consume with a handler that does nothing, beside claims and deletes of 50 rows."""

    def work(contestant: Contestant) -> float:
        contestant.publish_many(settings.many)
        return contestant.consume(settings.many)

    with both(settings) as pair:
        mine, theirs = take_turns(pair[:2], work, settings.rounds)
        yield rates("consume, no-op handler", settings.many, mine, theirs, who="raw", bar=0.35)
