"""Effects of tricks in a factorial design, where every trick is on in some runs and off in others.

A trick's column of the design is +1 where it is on and -1 where it is off; an interaction's is the product of its
tricks'. Least squares, with a mean per seed as block, give each column's coefficient; the effect is twice that (Box,
Hunter & Hunter 2005, chapter 5; Montgomery 2017, chapter 6):

* of one trick: the mean with it minus the mean without it, over all combinations of the others;
* of two: half of how much larger the effect of either is with the other on than with it off.

A factor with alternatives (``mixup|cutmix``) has an effect of each alternative, against neither. A fraction of a design
cannot tell some effects apart (chapter 8): they are *aliased*, and one number stands for all.

The noise is that between runs of one arm, what means of arms and seeds leave. A design of one seed has none of it: then
the noise is what the effects leave, if that has enough degrees of freedom, and else Lenth's pseudo standard error. All
effects of a table are tested together, by the largest |t|; their intervals hold together, and agree with the verdicts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

import numpy as np
import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.statistics.layout import Layout
from bagoftricks.statistics.lenth import FEWEST_EFFECTS, lenth_critical, lenth_p_value, pseudo_error
from bagoftricks.statistics.max_t import FloatArray, largest_of
from bagoftricks.statistics.noise import ROUNDING
from bagoftricks.statistics.paired import ALPHA, HELPS, HURTS, RESOLVE, Interval, require_finite, seeds_advice
from bagoftricks.statistics.power import Power, standard_effect

ScoredRun = tuple[frozenset[str], int, float]  # the levels that are on, the seed, the score
Term = tuple[str, ...]  # ("mixup",) is a main effect, ("cosine", "mixup") an interaction, () the mean
FactorLevels = tuple[str, ...]  # levels of a factor that exclude each other, next to off; most factors have one

DEPENDENT = 1e-8  # entries of a projection, where they are not 0, are far larger: columns hold 1 and -1
ENOUGH_DOF = 5  # of the noise between seeds, or of one seed's residuals; with less, the other estimate is tried
TOGETHER, APART = "better together", "worse together"  # verdicts on an interaction
REPLICATES, RESIDUALS, LENTH = "replicates", "residuals", "Lenth"  # where the noise was taken from


@dataclass(frozen=True)
class Alias:
    """Effect that a design cannot tell from another; ``sign`` is -1 where the two are subtracted."""

    tricks: Term
    sign: int = 1


@dataclass(frozen=True)
class Effect:
    """A main effect or two-way interaction, in the unit of the scores.

    With ``aliased_with``, the design cannot tell this effect from those, and the estimate is this one's only if they
    are 0; ``()`` among them is the mean of a seed. The estimate is None where no number stands for them all: the effect
    is aliased with the mean, or partly with each of several others. Without an estimate of the noise, or with one of 0,
    there is an estimate but no interval.
    """

    tricks: Term
    estimate: float | None = None
    low: float | None = None  # of intervals that hold together with those of the other effects
    high: float | None = None
    p_adjusted: float | None = None  # over all effects that have a p
    verdict: str = ""
    noise: str | None = None  # replicates, residuals or Lenth
    sees: float | None = None  # smallest effect that such a study finds in 80 % of cases
    seeds_low: int | None = None  # fewest seeds of each arm that find ``resolve``, by the low end of the noise
    seeds_high: int | None = None  # by its high end; None above 1000, and for one seed
    aliased_with: tuple[Alias, ...] = ()

    @property
    def stands(self) -> bool:
        """Return True if the effect is decided for or against."""
        return self.verdict in (HELPS, HURTS, TOGETHER, APART)


@dataclass(frozen=True)
class Effects:
    """Effects of a design, and what they rest on."""

    rows: tuple[Effect, ...]
    noise: str | None = None  # replicates, residuals or Lenth
    dof: float | None = None  # degrees of freedom of the noise
    variance: float | None = None  # of a run
    main_effects_only: bool = False  # they are these effects only if there are no interactions


def factorial_effects(
    runs: Sequence[ScoredRun],
    factors: Sequence[str | FactorLevels],
    *,
    higher_is_better: bool = True,
    alpha: float = ALPHA,
    resolve: float = RESOLVE,
    unit: str = "points",
) -> Effects:
    """Return main effects, then two-way interactions, of a full or fractional factorial design.

    A design that cannot tell main effects from interactions, but estimates main effects alone, as Plackett and
    Burman's, has those only, and says so. What the model leaves out is aliased with what it holds and is not named.
    ``alpha``, ``resolve`` and ``unit`` are as for ``compare``.
    """
    levels = _levels(runs, factors)
    mains, both = (_Model(runs, levels, interactions=interactions) for interactions in (False, True))
    model = mains if len(both.known_mains) < len(mains.known_mains) else both
    return _told(model, model is mains, higher_is_better, alpha, resolve, unit)


def main_effects(runs: Sequence[ScoredRun], factors: Sequence[str | FactorLevels]) -> Effects:
    """Return the main effects alone, of a design whose interactions are taken for nothing; more is better."""
    model = _Model(runs, _levels(runs, factors), interactions=False)
    return _told(model, True, True, ALPHA, RESOLVE, "points")


def _levels(runs: Sequence[ScoredRun], factors: Sequence[str | FactorLevels]) -> list[FactorLevels]:
    levels = [(factor,) if isinstance(factor, str) else tuple(factor) for factor in factors]
    _require_runs(runs, [level for factor in levels for level in factor])
    return levels


def _told(model: "_Model", only: bool, higher_is_better: bool, alpha: float, resolve: float, unit: str) -> Effects:
    rows = model.effects(higher_is_better, alpha, resolve, unit)
    noise = model.noise if any(row.noise for row in rows) else None
    dof, variance = (model.dof, model.variance) if noise in (REPLICATES, RESIDUALS) else (None, None)
    return Effects(tuple(rows), noise, dof, variance, main_effects_only=only)


class _Design:
    """Runs and the effects that they tell apart, whatever the scores: a mean for each seed, a column for each term."""

    def __init__(
        self, runs: Sequence[tuple[frozenset[str], int]], factors: Sequence[FactorLevels], interactions: bool
    ) -> None:
        self.terms: list[Term] = [(level,) for factor in factors for level in factor]
        if interactions:
            self.terms += [pair for one, other in combinations(factors, 2) for pair in _pairs(one, other)]
        blocks, columns = _design(runs, factors, self.terms)
        self.within = columns - blocks @ (blocks.T @ columns / blocks.sum(axis=0)[:, None])  # varies within a seed
        self.groups = _alias_groups(self.within)
        self.known = [group[0] for group in self.groups if np.linalg.matrix_rank(self.within[:, group]) == 1]
        mixed = [index for group in self.groups if group[0] not in self.known for index in group]
        nuisance = np.hstack([blocks, scipy.linalg.orth(self.within[:, mixed], rcond=DEPENDENT)]) if mixed else blocks
        self.fitted = np.hstack([columns[:, self.known], nuisance])
        self.inverse = np.linalg.pinv(self.fitted)
        covariance = 4 * (self.inverse @ self.inverse.T)[: len(self.known), : len(self.known)]
        self.variances = np.diag(covariance)  # of the effects, in units of a run's
        self.correlation = covariance / np.sqrt(np.outer(self.variances, self.variances))
        self.arms = _codes([tuple(sorted(on)) for on, _ in runs])
        self.seeds = _codes([seed for _, seed in runs])
        seen = np.zeros((max(self.arms) + 1, blocks.shape[1]), dtype=bool)
        seen[self.arms, self.seeds] = True
        self.layout = Layout(tuple(map(tuple, seen.tolist())), ())


_cached_design = lru_cache(maxsize=16)(_Design)


class _Model:
    """Least-squares fit of the effects of a design, with a mean for each seed."""

    def __init__(self, runs: Sequence[ScoredRun], factors: Sequence[FactorLevels], *, interactions: bool) -> None:
        self.scores = np.array([score for _, _, score in runs], dtype=np.float64)
        design = _cached_design(tuple((on, seed) for on, seed, _ in runs), tuple(factors), interactions)
        self.design, self.terms, self.groups, self.known = design, design.terms, design.groups, design.known
        coefficients = design.inverse @ self.scores
        self.estimates = 2 * coefficients[: len(self.known)]
        self.noise, self.dof, self.variance = _noise(design, self.scores, self.scores - design.fitted @ coefficients)

    @property
    def known_mains(self) -> list[int]:
        """Main effects that can be estimated, by index."""
        return [index for index in self.known if len(self.terms[index]) == 1]

    def effects(self, higher_is_better: bool, alpha: float, resolve: float, unit: str) -> list[Effect]:
        intervals = dict(zip(self.known, self._intervals(alpha), strict=True))
        rows = []
        for first, *others in self.groups:
            aliases = tuple(Alias(self.terms[other], self._sign(first, other)) for other in others)
            if first not in intervals:
                rows.append(Effect(self.terms[first], aliased_with=aliases or (Alias(()),)))
                continue
            term, found = self.terms[first], intervals[first]
            if found is None:
                estimate = float(self.estimates[self.known.index(first)])
                rows.append(Effect(term, estimate, aliased_with=aliases))
                continue
            words = (HELPS, HURTS) if len(term) == 1 else (TOGETHER, APART)
            needed = self._seeds(self.known.index(first), alpha, resolve)
            advice = f"{seeds_advice(*needed)} would see {resolve:g}" if needed else ""
            verdict = found.verdict(words if higher_is_better else words[::-1], alpha, resolve, unit, advice)
            numbers = found.estimate, found.low, found.high, found.p_adjusted
            seeds_low, seeds_high = needed or (None, None)
            rows.append(Effect(term, *numbers, verdict, self.noise, found.sees, seeds_low, seeds_high, aliases))
        return rows

    def _seeds(self, index: int, alpha: float, resolve: float) -> tuple[int | None, int | None] | None:
        """Return the range of seeds of each arm that find ``resolve``; None where one seed tells nothing of others."""
        seeds = self.design.layout.mask.shape[1]
        if self.noise != REPLICATES or seeds < 2:
            return None
        sd = math.sqrt(self.design.variances[index] * self.variance * seeds)
        power = Power(largest_of(self.design.correlation), sd, self.dof / (seeds - 1), alpha)
        return power.seeds_range(resolve, seeds)

    def _sign(self, first: int, other: int) -> int:
        return -1 if float(self.design.within[:, first] @ self.design.within[:, other]) < 0 else 1

    def _intervals(self, alpha: float) -> list[Interval | None]:
        if not self.known:  # of the first runs of a study
            return []
        if self.noise is None:
            return self._lenth_intervals(alpha)
        if self.variance <= (ROUNDING * float(np.abs(self.scores).max())) ** 2:
            return [None] * len(self.known)
        errors = np.sqrt(self.design.variances * self.variance)
        tests = largest_of(self.design.correlation)
        critical = tests.critical(alpha, self.dof)
        found = standard_effect(tests, self.dof, alpha)
        return [
            Interval(float(e), float(critical * error), tests.p_value(e / error, self.dof), float(found * error))
            for e, error in zip(self.estimates, errors, strict=True)
        ]

    def _lenth_intervals(self, alpha: float) -> list[Interval | None]:
        """Return Lenth's intervals of effects of one precision; none where they differ in it, or are too few."""
        count, variances = len(self.known), self.design.variances
        nothing: list[Interval | None] = [None] * count
        if count < FEWEST_EFFECTS or np.ptp(variances) > DEPENDENT * variances.max():
            return nothing
        error = float(pseudo_error(self.estimates))
        if not error > ROUNDING * float(np.abs(self.scores).max()):
            return nothing
        self.noise, margin = LENTH, lenth_critical(alpha, count) * error
        return [Interval(float(e), margin, lenth_p_value(abs(e) / error, count)) for e in self.estimates]


def _noise(design: _Design, scores: FloatArray, residuals: FloatArray) -> tuple[str | None, float, float]:
    """Return where the noise is taken from, its degrees of freedom, and the variance of a run."""
    replicated, dof = design.layout.dof, len(scores) - design.fitted.shape[1]
    if replicated >= min(ENOUGH_DOF, dof) and replicated > 0.5:
        values = np.zeros(design.layout.mask.shape)
        values[design.arms, design.seeds] = scores - scores.mean()
        return REPLICATES, replicated, float((design.layout.residuals(values) ** 2).sum()) / replicated
    if dof >= (1 if replicated > 0.5 else ENOUGH_DOF):
        return RESIDUALS, dof, float((residuals**2).sum()) / dof
    return None, 0.0, 0.0


def _codes(values: Sequence[Any]) -> list[int]:
    """Return the position of each value among the sorted ones."""
    order = {value: index for index, value in enumerate(sorted(set(values)))}
    return [order[value] for value in values]


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


def _pairs(one: FactorLevels, other: FactorLevels) -> list[Term]:
    return [(first, second) for first in one for second in other]


def _design(
    runs: Sequence[tuple[frozenset[str], int]], factors: Sequence[FactorLevels], terms: Sequence[Term]
) -> tuple[FloatArray, FloatArray]:
    """Return one row per run: an indicator per seed, and a column per term.

    Levels of a factor with alternatives are centred over the arms, so that the effects of others are means over them.
    """
    seeds = sorted({seed for _, seed in runs})
    blocks = [[float(seed == block) for block in seeds] for _, seed in runs]
    arms = {on for on, _ in runs}
    centres = {
        level: np.mean([1.0 if level in on else -1.0 for on in arms]) if len(factor) > 1 else 0.0
        for factor in factors
        for level in factor
    }
    codes = {level: np.array([1.0 if level in on else -1.0 for on, _ in runs]) - c for level, c in centres.items()}
    columns = [np.prod([codes[level] for level in term], axis=0) for term in terms]
    shape = len(runs), len(terms)
    return np.array(blocks, dtype=np.float64), np.array(columns, dtype=np.float64).T.reshape(shape)


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
