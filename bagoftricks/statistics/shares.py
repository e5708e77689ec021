"""Shares of the whole gain of several tricks: what each contributes, over all orders of adding them (Shapley 1953).

From all subsets, a share is a sum of arm means with known weights, so its interval is Student's with the noise of all
arms: exact under normal noise, where a bootstrap over three seeds has but ten samples. From a fraction, it follows from
the fitted model: of main effects and two-way interactions in +-1 coding, each trick's share is its main effect, since
an interaction is on one side of the balance in half of the orders and on the other in the rest.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

from bagoftricks.errors import UserError
from bagoftricks.statistics.effects import REPLICATES, Effects, FactorLevels, ScoredRun
from bagoftricks.statistics.paired import require_finite


@dataclass(frozen=True)
class Share:
    """Share of a trick in the gain of all, in the scores' unit; intervals of all shares hold together."""

    value: float
    low: float | None = None
    high: float | None = None


def shapley(values: Mapping[frozenset[str], float], tricks: Sequence[str]) -> dict[str, float]:
    """Return each trick's share of the gain of all tricks, from the mean scores of all subsets.

    The share is the trick's gain averaged over all orders in which the tricks can be added one by one. The shares sum
    to the score of all minus the score of none, in the scores' unit. Raises UserError for a subset without a score.
    """
    for subset in _subsets(tricks):
        if subset not in values:
            raise UserError(f"no score for {_name(subset)}: Shapley shares need all {2 ** len(tricks)} subsets")
        require_finite({_name(subset): values[subset]})
    return {
        trick: sum(weight * values[subset] for subset, weight in shapley_weights(trick, tricks).items())
        for trick in tricks
    }


def shapley_weights(trick: str, tricks: Sequence[str]) -> dict[frozenset[str], float]:
    """Return the weight of each subset's score in a trick's share: minus without the trick, plus with it."""
    count, weights = len(tricks), {}
    for subset in _subsets(tricks):
        others = len(subset - {trick})
        size = math.factorial(others) * math.factorial(count - 1 - others) / math.factorial(count)
        weights[subset] = size if trick in subset else -size
    return weights


def shares_of(
    runs: Sequence[ScoredRun], factors: Sequence[FactorLevels], effects: Effects, alpha: float = 0.05
) -> dict[str, Share]:
    """Return the shares of two-level factors, over the seeds that every arm was run with; empty if unknown."""
    if any(len(factor) > 1 for factor in factors) or not runs:
        return {}
    tricks = [factor[0] for factor in factors]
    by_arm: dict[frozenset[str], dict[int, float]] = {}
    for on, seed, score in runs:
        by_arm.setdefault(on, {})[seed] = score
    if len(by_arm) < 2 ** len(tricks):
        return {} if effects.main_effects_only else _of_the_model(effects)
    seeds = set.intersection(*map(set, by_arm.values()))  # a seed that only some arms have would count as a gain
    if not seeds:
        return {}
    means = {on: sum(of[seed] for seed in seeds) / len(seeds) for on, of in by_arm.items()}
    return {
        trick: _with_interval(s, trick, tricks, effects, len(seeds), alpha)
        for trick, s in shapley(means, tricks).items()
    }


def _with_interval(
    value: float, trick: str, tricks: Sequence[str], effects: Effects, seeds: int, alpha: float
) -> Share:
    if effects.noise != REPLICATES or not effects.variance or not effects.dof:
        return Share(value)
    squares = sum(weight**2 for weight in shapley_weights(trick, tricks).values())
    error = math.sqrt(effects.variance / seeds * squares)
    margin = error * -float(scipy.special.stdtrit(effects.dof, alpha / (2 * len(tricks))))
    return Share(value, value - margin, value + margin)


def _of_the_model(effects: Effects) -> dict[str, Share]:
    clear = [e for e in effects.rows if len(e.tricks) == 1 and e.estimate is not None and not e.aliased_with]
    return {e.tricks[0]: Share(e.estimate, e.low, e.high) for e in clear if e.estimate is not None}


def _subsets(tricks: Sequence[str]) -> Iterator[frozenset[str]]:
    return map(frozenset, chain.from_iterable(combinations(tricks, size) for size in range(len(tricks) + 1)))


def _name(tricks: frozenset[str]) -> str:
    return " + ".join(sorted(tricks)) or "baseline"
