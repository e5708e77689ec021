"""Simulated selections: studies of known truth, chosen step by step and confirmed as the command does it.

All numbers are in sds of the noise between seeds of one arm; gains of tricks add up.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from bagoftricks.statistics.paired import compare
from bagoftricks.statistics.selection import best_by_mean, best_that_helps
from bagoftricks.study.arms import Arm
from bagoftricks.study.designs import greedy_first, greedy_next, make_arms
from bagoftricks.study.selection import confirming_arms, halving_rungs
from tests.simulation.cells import Cell, Counts, add, kind

TRICKS = ("cosine", "label_smoothing", "mixup", "zero_gamma", "no_bias_decay", "warmup", "resnet_d", "ema")
SEED_SD = 2.0  # what a seed does to all arms
REAL = {"cosine": 4.0, "mixup": 2.0}


@dataclass(frozen=True)
class Selected:
    """Result of a selection: the tricks, their true gain, the gain that chose the first one, and the confirmed one."""

    tricks: tuple[str, ...] = ()
    truth: float = 0.0
    selected_by: float = 0.0
    confirmed: float | None = None
    stands: bool = False

    @property
    def bias(self) -> float | None:
        """Confirmed gain minus the truth, None where nothing was chosen."""
        return None if self.confirmed is None else self.confirmed - self.truth


class Runs:
    """Scores of runs by arm and seed, drawn when they are first read."""

    def __init__(self, rng: Generator, gains: dict[str, float]) -> None:
        self.rng, self.gains = rng, gains
        self.scores: dict[tuple[frozenset[str], int], float] = {}
        self.shifts: dict[int, float] = {}

    def truth(self, tricks: Sequence[str]) -> float:
        return sum(self.gains.get(trick, 0.0) for trick in tricks)

    def of(self, tricks: Sequence[str], seeds: Sequence[int]) -> dict[int, float]:
        for seed in seeds:
            self.shifts.setdefault(seed, SEED_SD * float(self.rng.standard_normal()))
            noise = float(self.rng.standard_normal())
            self.scores.setdefault((frozenset(tricks), seed), self.truth(tricks) + self.shifts[seed] + noise)
        return {seed: self.scores[frozenset(tricks), seed] for seed in seeds}


def greedy(rng: Generator, gains: dict[str, float], seeds: int, confirm: int = 5) -> Selected:
    """Return what forward selection makes of one study of ``TRICKS`` with these gains."""
    runs, arms, step, chosen, by = Runs(rng, gains), make_arms("greedy", TRICKS), greedy_first(TRICKS), None, 0.0
    while step.candidates:
        of_step = [arm for arm in arms if arm.label == step.candidates[0].compare_to] + step.candidates
        scores = {arm.label: runs.of(list(arm.tricks), range(seeds)) for arm in of_step}
        made = compare(scores, [(arm.label, str(arm.compare_to)) for arm in step.candidates])
        best = best_that_helps(made, scores)
        if best is None:
            break
        by = by or max(comparison.difference or 0.0 for comparison in made)
        arms += step.candidates
        chosen, step = next(arm for arm in arms if arm.label == best), greedy_next(step, TRICKS, best)
    return _confirmed(runs, chosen, arms[0], by, seeds, confirm) if chosen else Selected()


def halving(rng: Generator, gains: dict[str, float], seeds: int, confirm: int = 5) -> Selected:
    """Return what successive halving makes of one study of ``TRICKS``, each alone, with these gains."""
    arms = {arm.label: arm for arm in make_arms("halving", TRICKS)}
    baseline, *left = arms
    runs = Runs(rng, gains)
    for rung in halving_rungs(len(left), seeds, 2):
        scores = {label: runs.of(list(arms[label].tricks), range(rung.seeds)) for label in left}
        left = best_by_mean(scores, rung.keep, range(rung.seeds))
    by = float(np.mean(list(scores[left[0]].values())) - np.mean(list(runs.of([], range(seeds)).values())))
    return _confirmed(runs, arms[left[0]], arms[baseline], by, seeds, confirm)


def _confirmed(runs: Runs, chosen: Arm, baseline: Arm, by: float, seeds: int, confirm: int) -> Selected:
    fresh = confirming_arms(chosen, baseline, range(seeds), confirm)
    scores = {arm.label: runs.of(list(arm.tricks), arm.seeds) for arm in fresh}
    (made,) = compare(scores, [(fresh[0].label, str(fresh[0].compare_to))])
    return Selected(tuple(chosen.tricks), runs.truth(list(chosen.tricks)), by, made.difference, made.stands)


@kind
def selection(cell: Cell, rng: Generator, studies: int) -> Counts:
    """Count what greedy chooses of useless tricks, and of two real ones among them."""
    counts: Counts = Counter()
    for gains in ({}, REAL):
        for _ in range(studies):
            made = greedy(rng, gains, cell.seeds)
            useless = not set(made.tricks) <= gains.keys()
            add(counts, "a useless one next to real ones" if gains else "any of eight useless ones", useless)
            add(counts, "gain on fresh seeds above the truth", [] if made.bias is None else made.bias > 0)
            for trick, size in gains.items():
                add(counts, f"chosen {size:g} sd", trick in made.tricks)
    return counts
