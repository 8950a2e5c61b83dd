"""Jobs a second, ours beside the floor: publishing one by one, publishing many, consuming."""

from collections.abc import Iterator
from time import perf_counter

from tools.benchmarks.contestants import Contestant
from tools.benchmarks.ours import Ours
from tools.benchmarks.report import Row, rates
from tools.benchmarks.stage import Stage
from tools.benchmarks.turns import take_turns


def publish(stage: Stage) -> Iterator[Row]:
    """Publish typed inputs one by one; then the same as `Job` objects."""
    count = stage.one_by_one

    def as_input(contestant: Contestant) -> float:
        took = contestant.publish(count)
        contestant.empty()
        return took

    def as_job(contestant: Contestant) -> float:
        jobs = isinstance(contestant, Ours)
        took = contestant.publish_jobs(count) if jobs else contestant.publish(count)
        contestant.empty()
        return took

    with stage.both() as pair:
        mine, theirs = take_turns(pair[:2], as_input, stage.settings.rounds)
        yield rates(
            "publish, an input a call", count, mine, theirs, who="raw", bar=stage.bars.publish
        )
        mine, theirs = take_turns(pair[:2], as_job, stage.settings.rounds)
        yield rates("publish, job_from_schema a call", count, mine, theirs, who="raw", bar=None)


def publish_many(stage: Stage) -> Iterator[Row]:
    """Publish typed inputs 1000 at a time, beside 100 at a time."""
    count = stage.settings.many

    def work(contestant: Contestant) -> float:
        took = contestant.publish_many(count)
        contestant.empty()
        return took

    with stage.both() as pair:
        mine, theirs = take_turns(pair[:2], work, stage.settings.rounds)
        yield rates(
            "publish_many (1000)", count, mine, theirs, who="raw", bar=stage.bars.publish_many
        )
        if pair.floor.leaves_work:

            def all_there(contestant: Contestant) -> float:
                began = perf_counter()
                contestant.publish_many(count)
                if contestant is pair.floor:
                    pair.floor.wait_for(count)
                took = perf_counter() - began
                contestant.empty()
                return took

            what = "publish_many (1000), raw until all are there"
            mine, theirs = take_turns(pair[:2], all_there, stage.settings.rounds)
            yield rates(what, count, mine, theirs, who="raw", bar=None)


def consume(stage: Stage) -> Iterator[Row]:
    """Consume with a handler that does nothing, beside the floor's own way."""
    count = stage.settings.many

    def work(contestant: Contestant) -> float:
        contestant.fill(count)
        return contestant.consume(count)

    with stage.both() as pair:
        mine, theirs = take_turns(pair[:2], work, stage.settings.rounds)
        yield rates(
            "consume, no-op handler", count, mine, theirs, who="raw", bar=stage.bars.consume
        )
