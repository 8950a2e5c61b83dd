"""Whether a million waiting jobs slow down the next one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tools.benchmarks.contestants import Contestant
from tools.benchmarks.floor import Floor
from tools.benchmarks.ours import Ours
from tools.benchmarks.report import Row, rates
from tools.benchmarks.settings import Settings
from tools.benchmarks.throughput import one_by_one
from tools.benchmarks.turns import take_turns

Opener = Callable[[Path], Contestant]


def depth(settings: Settings) -> Iterator[Row]:
    """Publish and consume while many jobs wait, against few; the floor does so too."""
    for queue_type in settings.queue_types:
        opener = partial(Ours, synchronous=settings.synchronous, queue_type=queue_type)
        yield from _deep_and_shallow(settings, queue_type, opener, 0.8)
    opener = partial(Floor, synchronous=settings.synchronous)
    yield from _deep_and_shallow(settings, "the raw floor itself", opener, None)


def _deep_and_shallow(
    settings: Settings, what: str, opener: Opener, bar: float | None
) -> Iterator[Row]:
    shallow, deep = settings.depths
    count = one_by_one(settings)

    def work(contestant: Contestant) -> float:
        return contestant.publish(count) + contestant.consume(count)

    with ExitStack() as stack:
        pair = [_filled(stack, settings, opener, waiting) for waiting in (deep, shallow)]
        mine, theirs = take_turns(pair, work, settings.rounds)
    measure = f"depth {deep:,}, publish + consume, {what}"
    yield rates(measure, count, mine, theirs, who=f"depth {shallow:,}:", bar=bar)


def _filled(stack: ExitStack, settings: Settings, opener: Opener, waiting: int) -> Contestant:
    contestant = opener(stack.enter_context(settings.new_folder()))
    stack.callback(contestant.close)
    contestant.publish_many(waiting)
    return contestant
