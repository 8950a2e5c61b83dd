"""Whether a million waiting jobs slow down the next one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from tools.benchmarks.contestants import Contestant
from tools.benchmarks.report import Row, rates
from tools.benchmarks.stage import Pair, Stage
from tools.benchmarks.turns import take_turns


def depth(stage: Stage) -> Iterator[Row]:
    """Publish and consume while many jobs wait, against few; the floor does so too."""
    for queue_type in stage.settings.queue_types:
        with ExitStack() as stack:
            pair = _filled(stack, stage, lambda pair: pair.ours, queue_type)
            yield _deep_and_shallow(stage, pair, queue_type, stage.bars.depth)
    with ExitStack() as stack:
        pair = _filled(stack, stage, lambda pair: pair.floor)
        yield _deep_and_shallow(stage, pair, "the raw floor itself", None)


def _deep_and_shallow(stage: Stage, pair: list[Contestant], what: str, bar: float | None) -> Row:
    shallow, deep = stage.settings.depths
    count = stage.one_by_one

    def work(contestant: Contestant) -> float:
        return contestant.publish(count) + contestant.consume(count)

    mine, theirs = take_turns(pair, work, stage.settings.rounds)
    measure = f"depth {deep:,}, publish + consume, {what}"
    return rates(measure, count, mine, theirs, who=f"depth {shallow:,}:", bar=bar)


def _filled(
    stack: ExitStack,
    stage: Stage,
    chosen: Callable[[Pair], Contestant],
    queue_type: str | None = None,
) -> list[Contestant]:
    """Open two, the deep one first."""
    both: list[Contestant] = []
    for waiting in reversed(stage.settings.depths):
        contestant = chosen(stack.enter_context(stage.both(queue_type)))
        contestant.fill(waiting)
        both.append(contestant)
    return both
