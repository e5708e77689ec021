"""Kinds of cells: comparisons of arms, effects of factorial designs, and the advice on seeds."""

from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.random import Generator

from bagoftricks.statistics.effects import ScoredRun, factorial_effects
from bagoftricks.statistics.noise import PairTest, pair_tests
from bagoftricks.statistics.paired import compare
from bagoftricks.study.designs import Size, make_arms
from bagoftricks.study.look_history import planned_looks
from tests.simulation.cells import TRUTHS, Cell, Counts, FloatArray, add, draws, kind
from tests.statistics.growing import grow

ALPHA = 0.05
PILOT_RESOLVE = 1.5  # of the advice: some 12 to 20 seeds are needed to see it
MOST_ADVISED = 60
EIGHT = ("cosine", "label_smoothing", "mixup", "zero_gamma", "no_bias_decay", "warmup", "resnet_d", "ema")
FACTORIALS = {  # name: design, tricks, size
    "factorial 2^3": ("factorial", EIGHT[:3], Size()),
    "fraction 2^(8-4)": ("fractional", EIGHT, Size(runs=16)),
    "Plackett-Burman": ("fractional", EIGHT[:5], Size(runs=12)),
}


def compared_pairs(design: str, arms: int) -> list[tuple[int, int]]:
    """Return which arms a design compares: each with the first, or in a stack with the one above."""
    return [(arm, arm - 1 if design == "stack" else 0) for arm in range(1, arms)]


def arm_means(design: str, truths: FloatArray) -> FloatArray:
    """Return means of all arms whose comparisons have these truths; leaving a trick out loses its gain."""
    if design == "stack":
        return np.concatenate([[0.0], np.cumsum(truths)])
    return np.concatenate([[0.0], -truths if design == "leave_one_out" else truths])


def some_truths(comparisons: int) -> FloatArray:
    return np.array([*TRUTHS, *[0.0] * comparisons])[:comparisons]


def seen_runs(cell: Cell, rng: Generator) -> FloatArray:
    """Return which runs there are (arms, seeds); each arm and each seed keeps one."""
    while True:
        seen = rng.random((cell.arms, cell.seeds)) >= cell.missing
        if seen.any(0).all() and seen.any(1).all():
            return np.asarray(seen)


def table_of(values: FloatArray, seen: FloatArray) -> dict[str, dict[int, float]]:
    """Return the scores (arms, seeds) by label and seed."""
    return {
        f"arm{arm}": {seed: float(row[seed]) for seed in np.nonzero(there)[0].tolist()}
        for arm, (row, there) in enumerate(zip(values, seen, strict=True))
    }


def table_tests(values: FloatArray, seen: FloatArray, pairs: list[tuple[int, int]]) -> list[PairTest | None]:
    """Return the test of each pair; None where two seeds or more are not shared."""
    differences: dict[tuple[str, str], FloatArray] = {}
    for one, other in pairs:
        both = seen[one] & seen[other]
        if both.sum() > 1:
            differences[f"arm{one}", f"arm{other}"] = (values[one] - values[other])[both]
    tests = pair_tests(table_of(values, seen), differences, ALPHA)
    return [tests.get((f"arm{one}", f"arm{other}")) for one, other in pairs]


@kind
def comparisons(cell: Cell, rng: Generator, studies: int) -> Counts:
    """Count verdicts and intervals of tables of arms, half of the studies without any effect."""
    counts: Counts = Counter()
    pairs, seen = compared_pairs(cell.design, cell.arms), seen_runs(cell, rng)
    truths = some_truths(len(pairs))
    means, sign = arm_means(cell.design, truths), -1.0 if cell.design == "leave_one_out" else 1.0
    quiet = pairs[:-1] if cell.noise == "collapsing" else pairs  # the last arm's truth is a fall, not 0
    null, real = (draws(cell.noise, rng, studies, cell.arms, cell.seeds) for _ in range(2))
    for values in null:
        tests = [test for test in table_tests(values, seen, pairs)[: len(quiet)] if test]
        add(counts, "false verdict", any(test.p_adjusted <= ALPHA for test in tests))
    for number, values in enumerate(real + means[:, None]):
        found = table_tests(values, seen, pairs)
        kept = [(test, sign * truth) for test, truth in zip(found, truths, strict=True) if test][: len(quiet)]
        covered = [abs(test.estimate - truth) <= test.margin for test, truth in kept]
        add(counts, "all intervals", all(covered))
        add(counts, "interval", covered)
        for size, test in zip(TRUTHS, found, strict=False):
            add(counts, f"found {size:g} sd", [sign * test.estimate > test.margin] if test else [])
        add(counts, "contradiction", [(abs(t.estimate) > t.margin) != (t.p_adjusted <= ALPHA) for t in found if t])
        noises = {test.noise for test in found if test}
        for noise in ("shared", "moderated", "own"):
            add(counts, noise, noise in noises)
        if number % 250 == 0:
            _count_words(counts, values, seen, pairs)
    return counts


def _count_words(counts: Counts, values: FloatArray, seen: FloatArray, pairs: list[tuple[int, int]]) -> None:
    """Count verdicts in words that do not go with their interval."""
    for row in compare(table_of(values, seen), [(f"arm{one}", f"arm{other}") for one, other in pairs]):
        if row.low is not None:
            add(counts, "contradiction", row.stands != (row.low > 0 or row.high < 0))


@lru_cache
def factorial_arms(design: str) -> tuple[tuple[str, ...], list[frozenset[str]]]:
    """Return the factors of a design and the levels that each of its arms has on."""
    name, tricks, size = FACTORIALS[design]
    return tricks, [frozenset(arm.on) for arm in make_arms(name, tricks, size=size)]


@kind
def effects(cell: Cell, rng: Generator, studies: int) -> Counts:
    """Count verdicts and intervals of tables of effects, half of the studies without any."""
    counts: Counts = Counter()
    factors, arms = factorial_arms(cell.design)
    truths = dict(zip(factors, some_truths(len(factors)).tolist(), strict=True))
    means = np.array([sum(truths[factor] for factor in on) for on in arms])
    seen = seen_runs(cell, rng)
    null, real = (draws(cell.noise, rng, studies, cell.arms, cell.seeds) for _ in range(2))

    def runs(values: FloatArray) -> list[ScoredRun]:
        return [(arms[arm], seed, float(values[arm, seed])) for arm, seed in np.argwhere(seen).tolist()]

    for values in null:
        add(counts, "false verdict", any(row.stands for row in factorial_effects(runs(values), factors).rows))
    for values in real + means[:, None]:
        table = factorial_effects(runs(values), factors)
        tested = [row for row in table.rows if row.low is not None]
        truth = [truths[row.tricks[0]] if len(row.tricks) == 1 else 0.0 for row in tested]
        covered = [row.low <= true <= row.high for row, true in zip(tested, truth, strict=True)]
        add(counts, "all intervals", all(covered) and bool(tested))
        add(counts, "interval", covered)
        for size, factor in zip(TRUTHS, factors, strict=False):
            add(counts, f"found {size:g} sd", any(row.tricks == (factor,) and row.verdict == "helps" for row in tested))
        add(counts, "contradiction", [row.stands != (row.low > 0 or row.high < 0) for row in tested])
        add(counts, str(table.noise), True)
    return counts


@lru_cache
def power_curve(design: str, arms: int, noise: str) -> tuple[FloatArray, FloatArray]:
    """Return numbers of seeds, and the share of simulated studies of that size which find ``PILOT_RESOLVE``."""
    sizes = np.unique(np.geomspace(3, MOST_ADVISED, 16).astype(int))
    found = []
    for seeds in sizes:
        rng, pairs = np.random.default_rng([int(seeds), arms]), compared_pairs(design, arms)
        values = draws(noise, rng, 1000, arms, int(seeds))
        values[:, 1] += PILOT_RESOLVE
        seen = np.ones((arms, int(seeds)), dtype=bool)
        tests = [table_tests(study, seen, pairs)[0] for study in values]
        found.append(np.mean([test is not None and test.estimate > test.margin for test in tests]))
    return sizes.astype(np.float64), np.maximum.accumulate(found)


@kind
def advice(cell: Cell, rng: Generator, studies: int) -> Counts:
    """Count how often the upper end of the advice of a pilot study is enough for a power of 80 %."""
    counts: Counts = Counter()
    sizes, power = power_curve(cell.design, cell.arms, cell.noise)
    pairs, seen = compared_pairs(cell.design, cell.arms), np.ones((cell.arms, cell.seeds), dtype=bool)
    for values in draws(cell.noise, rng, studies, cell.arms, cell.seeds):
        test = table_tests(values, seen, pairs)[0]
        if test is None:
            continue
        low, high = (n or MOST_ADVISED for n in test.power.seeds_range(PILOT_RESOLVE, cell.seeds))
        reached = np.interp([low, high], sizes, power)
        add(counts, "upper end is enough", reached[1] >= 0.8)
        add(counts, "lower end is enough", reached[0] >= 0.8)
        add(counts, "found by its upper end", rng.random() < reached[1])
    return counts


@kind
def looks(cell: Cell, rng: Generator, studies: int) -> Counts:
    """Count false verdicts at any look of studies without effects, whose arms stop once they are decided."""
    grown = grow(cell.arms, planned_looks(3, cell.seeds), studies, seed=int(rng.integers(2**32)))
    counts: Counts = Counter()
    for measure, found in (("false verdict at any look", grown.claimed), ("all last intervals", grown.covered)):
        counts[f"{measure}: hits"], counts[f"{measure}: of"] = round(found * studies), studies
    return counts
