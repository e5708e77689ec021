"""Selection of arms while a study runs: what each round compared and chose, and the fresh seeds that confirm it.

The number by which an arm is chosen is too high: the best of several is partly the luckiest. So the result of a
selection is another number: seeds that had no part in it, of the chosen arm and of the baseline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bagoftricks.errors import UserError
from bagoftricks.study.arms import Arm
from bagoftricks.study.factors import BASELINE

FRESH = "{}, fresh seeds"  # label of an arm that confirms another one


@dataclass(frozen=True, kw_only=True)
class Round:
    """Arms that were judged together (labels), and those that go on; none ends the selection."""

    arms: tuple[str, ...]
    chosen: tuple[str, ...] = ()
    seeds: int = 0  # of each arm


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Rounds of a selection so far, and how many fresh seeds confirm its result."""

    rounds: tuple[Round, ...] = ()
    result: str = ""  # label of the arm that was chosen in the end; empty: none
    confirm: int = 0  # fresh seeds
    over: bool = False

    def then(self, done: Round) -> "Selection":
        """Return the selection with one more round."""
        return replace(self, rounds=(*self.rounds, done))


def confirming_arms(chosen: Arm, baseline: Arm, seeds: Sequence[int], confirm: int) -> list[Arm]:
    """Return the chosen arm and the baseline with ``confirm`` seeds after the largest of ``seeds``, to be compared."""
    fresh = tuple(range(max(seeds) + 1, max(seeds) + 1 + confirm))
    against = FRESH.format(baseline.label)
    return [
        replace(chosen, label=FRESH.format(chosen.label), compare_to=against, seeds=fresh),
        replace(baseline, label=against, compare_to=None, seeds=fresh),
    ]


# Successive halving


@dataclass(frozen=True)
class Rung:
    """Round of successive halving: ``keep`` of ``arms`` arms go on, judged by their first ``seeds`` seeds."""

    arms: int
    seeds: int
    keep: int


def halving_rungs(arms: int, seeds: int, eta: int) -> list[Rung]:
    """Return the rungs that leave one of ``arms`` arms: the last has all seeds, each before it 1 / eta of the next's.

    Raises UserError for a single arm. Rungs with equal numbers of seeds are one: without more runs nothing is learnt.
    """
    if arms < 2:
        raise UserError("the design 'halving' chooses among arms: list two or more, as in 'tricks=[mixup,cosine+ema]'")
    counts = [arms]
    while counts[-1] > 1:
        counts.append(math.ceil(counts[-1] / eta))
    rungs: list[Rung] = []
    for number, (of, keep) in enumerate(pairwise(counts)):
        with_seeds = max(1, seeds // eta ** (len(counts) - 2 - number))
        if rungs and rungs[-1].seeds == with_seeds:
            rungs[-1] = replace(rungs[-1], keep=keep)
        else:
            rungs.append(Rung(of, with_seeds, keep))
    return rungs


def halving_line(rungs: Sequence[Rung], confirm: int) -> str:
    """Return the runs of successive halving in words; the baseline is in every rung."""
    told, runs, before = [], 0, 0
    for rung in rungs:
        told.append(f"{rung.arms} arms with {rung.seeds} seed{'s' * (rung.seeds > 1)}")
        runs += (rung.arms + 1) * (rung.seeds - before)
        before = rung.seeds
    fresh = f", then {2 * confirm} with fresh seeds, of the best and of {BASELINE}" if confirm else ""
    return f"{', '.join(told)}: {runs} runs with those of {BASELINE}{fresh}"
