"""Effects of tricks in a two-level design, where every trick is on in some runs and off in others.

A trick's column of the design is +1 where it is on and -1 where it is off; an interaction's is the product of its
tricks'. Ordinary least squares, with a mean per seed as block, gives each column's coefficient; the effect is twice
that (Box, Hunter & Hunter 2005, chapter 5; Montgomery 2017, chapter 6):

* of one trick: the mean with it minus the mean without it, over all combinations of the others;
* of two: half of how much larger the effect of either is with the other on than with it off.

A fraction of a design cannot tell some effects apart (chapter 8): they are *aliased*, and one number stands for all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb

import numpy as np
from scipy.linalg import orth  # type: ignore[import-untyped]
from statsmodels.regression.linear_model import OLS  # type: ignore[import-untyped]

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.statistics.paired import ROUNDING, FloatArray, holm, require_finite, t_interval, t_p_value

ScoredRun = tuple[frozenset[str], int, float]  # the tricks that are on, the seed, the score
Term = tuple[str, ...]  # ("mixup",) is a main effect, ("cosine", "mixup") an interaction, () the mean

DEPENDENT = 1e-8  # entries of a projection, where they are not 0, are far larger: columns hold 1 and -1


@dataclass(frozen=True)
class Effect:
    """A main effect or two-way interaction, in the unit of the scores.

    With ``aliased_with``, the design cannot tell this effect from those, and the estimate is this one's only if they
    are 0; ``()`` among them is the mean of a seed. The estimate is None where no number stands for them all: the effect
    is aliased with the mean, or partly with each of several others. Without residual degrees of freedom, or with
    residuals of 0, there is an estimate but no interval.
    """

    tricks: Term
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None  # corrected over all effects that have a p
    aliased_with: tuple[Term, ...] = ()
    shapley: float | None = None  # the trick's share of the gain of all, where every subset was run


@dataclass(frozen=True)
class _Estimate:
    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


def factorial_effects(
    runs: Sequence[ScoredRun], tricks: Sequence[str], *, interactions: bool = True, confidence: float = 0.95
) -> list[Effect]:
    """Main effects, then two-way interactions unless they are left out, of a full or fractional two-level design.

    What the model leaves out (interactions of three and more; of two, without ``interactions``) counts as noise between
    runs, or is aliased with what it holds and is not named. A design that estimates main effects alone, as Plackett and
    Burman's, needs ``interactions=False``: with them in the model, everything is mixed with everything.
    """
    _require_runs(runs, tricks)
    terms: list[Term] = [(trick,) for trick in tricks]
    if interactions:
        terms += combinations(tricks, 2)
    blocks, columns = _design(runs, terms)
    within = columns - blocks @ (blocks.T @ columns / blocks.sum(axis=0)[:, None])  # what differs within a seed
    groups = _alias_groups(within)
    known = [group[0] for group in groups if np.linalg.matrix_rank(within[:, group]) == 1]
    mixed = [index for group in groups if group[0] not in known for index in group]
    nuisance = np.hstack([blocks, orth(within[:, mixed], rcond=DEPENDENT)]) if mixed else blocks
    scores = np.array([score for _, _, score in runs], dtype=np.float64)
    estimates = dict(zip(known, _fit(scores, columns[:, known], nuisance, confidence), strict=True))
    return _effects(terms, groups, estimates)


def shapley(values: Mapping[frozenset[str], float], tricks: Sequence[str]) -> dict[str, float]:
    """Return each trick's share of the gain of all tricks, from the mean scores of all subsets (Shapley 1953).

    The share is the trick's gain averaged over all orders in which the tricks can be added one by one. The shares sum
    to the score of all minus the score of none, in the scores' unit.
    """
    for subset in _subsets(tricks):
        if frozenset(subset) not in values:
            raise UserError(f"no score for {_name(subset)}: Shapley shares need all {2 ** len(tricks)} subsets")
        require_finite({_name(subset): values[frozenset(subset)]})
    return {trick: _share(values, trick, [other for other in tricks if other != trick]) for trick in tricks}


def _share(values: Mapping[frozenset[str], float], trick: str, others: Sequence[str]) -> float:
    """Return the mean over sizes of what is there already, for each size over the subsets of that size."""
    gains = (
        (values[frozenset({trick, *subset})] - values[frozenset(subset)]) / comb(len(others), len(subset))
        for subset in _subsets(others)
    )
    return float(sum(gains) / (len(others) + 1))


def _subsets(tricks: Sequence[str]) -> Iterator[Term]:
    return chain.from_iterable(combinations(tricks, size) for size in range(len(tricks) + 1))


def _name(tricks: Sequence[str]) -> str:
    return " + ".join(tricks) or "baseline"


def _require_runs(runs: Sequence[ScoredRun], tricks: Sequence[str]) -> None:
    seen = set()
    for on, seed, score in runs:
        run = f"{_name(sorted(on))}, seed {seed}"
        for unknown in sorted(on - set(tricks)):
            raise UserError(f"{run}: '{unknown}' is not one of the design's tricks{did_you_mean(unknown, tricks)}")
        if (on, seed) in seen:
            raise UserError(f"{run} is there twice: two runs with the same seed are one, so keep one")
        seen.add((on, seed))
        require_finite({run: score})
    if not runs:
        raise UserError("no runs, so there are no effects: run the design first")


def _design(runs: Sequence[ScoredRun], terms: Sequence[Term]) -> tuple[FloatArray, FloatArray]:
    """Return one row per run: an indicator per seed, and a column of +-1 per term."""
    seeds = sorted({seed for _, seed, _ in runs})
    blocks = [[float(seed == block) for block in seeds] for _, seed, _ in runs]
    columns = [[np.prod([1.0 if trick in on else -1.0 for trick in term]) for term in terms] for on, _, _ in runs]
    return np.array(blocks, dtype=np.float64), np.array(columns, dtype=np.float64)


def _alias_groups(columns: FloatArray) -> list[list[int]]:
    """Columns that depend on each other linearly, directly or through others; alone in its group: can be estimated.

    The projection onto the combinations of columns that vanish has an entry for two columns only if one does.
    """
    vanishing = np.eye(columns.shape[1]) - np.linalg.pinv(columns, rcond=DEPENDENT) @ columns
    groups: list[list[int]] = []
    for index in range(columns.shape[1]):
        tied = [group for group in groups if (np.abs(vanishing[index, group]) > DEPENDENT).any()]
        groups = [group for group in groups if group not in tied] + [sorted([*chain(*tied), index])]
    return sorted(groups)


def _fit(scores: FloatArray, columns: FloatArray, nuisance: FloatArray, confidence: float) -> list[_Estimate]:
    """Twice each column's least-squares coefficient; an interval if the residuals tell of any noise."""
    fit = OLS(scores, np.hstack([columns, nuisance])).fit()
    count = columns.shape[1]
    effects = [float(2 * coefficient) for coefficient in fit.params[:count]]
    dof = int(fit.df_resid)
    if dof < 1 or np.abs(fit.resid).max() <= ROUNDING * np.abs(scores).max():
        return [_Estimate(effect) for effect in effects]
    errors = [float(2 * error) for error in fit.bse[:count]]
    return [
        _Estimate(effect, *t_interval(effect, error, dof, confidence), t_p_value(effect, error, dof))
        for effect, error in zip(effects, errors, strict=True)
    ]


def _effects(terms: Sequence[Term], groups: Sequence[list[int]], estimates: Mapping[int, _Estimate]) -> list[Effect]:
    p_holm = dict(zip(estimates, holm([estimate.p for estimate in estimates.values()]), strict=True))
    found = []
    for first, *others in groups:
        aliases = tuple(terms[other] for other in others)
        if first in estimates:
            known = estimates[first]
            found.append(Effect(terms[first], known.value, known.low, known.high, known.p, p_holm[first], aliases))
        else:
            found.append(Effect(terms[first], None, None, None, None, None, aliases or ((),)))
    return found
