"""Other libraries on the same store beside ours, in the same run and in turns."""

from collections.abc import Iterator
from contextlib import ExitStack

from tools.benchmarks.contestants import Contestant
from tools.benchmarks.report import Row, rates
from tools.benchmarks.settings import SkippedError
from tools.benchmarks.stage import Stage
from tools.benchmarks.turns import take_turns


def peers(stage: Stage) -> Iterator[Row]:
    """Publish and consume, each peer in turn with ours.

    Raises:
        SkippedError: after the rows of the others, where some could not take part.
    """
    if not stage.settings.peers:
        raise SkippedError("--no-peers")
    count = stage.peer_count

    def publish(contestant: Contestant) -> float:
        contestant.empty()
        return contestant.publish(count)

    def consume(contestant: Contestant) -> float:
        contestant.empty()
        contestant.fill(count)
        return contestant.consume(count)

    bars = stage.bars.peers_publish, stage.bars.peers_consume
    with ExitStack() as stack:
        ours, others, left_out = stage.peers(stack)
        for what, work, bar in zip(("publish", "consume"), (publish, consume), bars, strict=True):
            mine, *theirs = take_turns((ours, *others), work, stage.peer_rounds)
            for peer, seconds in zip(others, theirs, strict=True):
                measure = f"{what}, against {peer.label}"
                yield rates(measure, count, mine, seconds, who=peer.name, bar=bar)
    if left_out:
        raise SkippedError("; ".join(left_out))
