"""Turns: the contestants alternate, so that what the machine does meanwhile meets all of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

C = TypeVar("C")


def take_turns(
    contestants: Sequence[C], work: Callable[[C], float], rounds: int
) -> list[list[float]]:
    """Let each do the work once a round, another one first each time; return the seconds of each.

    A first round is not counted: it fills caches and files.
    """
    seconds: list[list[float]] = [[] for _ in contestants]
    places = list(range(len(contestants)))
    for turn in range(rounds + 1):
        for place in places:
            took = work(contestants[place])
            if turn:
                seconds[place].append(took)
        places.append(places.pop(0))
    return seconds
