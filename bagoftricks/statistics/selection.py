"""Choice among arms by their runs. What chose an arm is no measure of it: the best of several is partly the luckiest.

Forward selection tests the candidates of each step together (``paired.py``), and takes the one with the largest gain
among those that help. Where no trick does anything, the first step calls one of them helpful in at most 5 % of studies,
and without it there is no second: the whole selection keeps the 5 %. Where some tricks help, each later step may choose
a useless one in at most 5 % of studies; the set's gain on fresh seeds is right all the same.
"""

from collections.abc import Collection, Iterable, Mapping
from statistics import mean

from bagoftricks.statistics.paired import HELPS, Comparison


def best_that_helps(
    compared: Iterable[Comparison], allowed: Collection[str], *, higher_is_better: bool = True
) -> str | None:
    """Return the label with the largest gain among those that help and are ``allowed``; None if there is none.

    Of equal gains the first wins.
    """
    sign = 1 if higher_is_better else -1
    helps = [(c.difference, c.label) for c in compared if c.verdict == HELPS and c.label in allowed]
    gains = [(sign * difference, label) for difference, label in helps if difference is not None]
    return max(gains, key=lambda gain: gain[0])[1] if gains else None


def best_by_mean(
    scores: Mapping[str, Mapping[int, float]], keep: int, seeds: Collection[int], *, higher_is_better: bool = True
) -> list[str]:
    """Return the ``keep`` best labels by their mean over ``seeds``, the best first. One that lacks a seed is out."""
    sign = 1 if higher_is_better else -1
    means = {
        label: sign * mean(of[seed] for seed in seeds)
        for label, of in scores.items()
        if all(seed in of for seed in seeds)
    }
    return sorted(means, key=lambda label: -means[label])[:keep]
