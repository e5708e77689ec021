"""Tests of the comparisons of one table: whose noise they are tested against, and their simultaneous intervals.

All arms share their noise (``layout.py``) if a test of equal variances allows. If not, the variance of each comparison
(of its own differences) is drawn towards those of the others, the more, the less they vary: moderated variances (Smyth
2004). Where there are too few comparisons to do so, each has its own (Student 1908).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

from bagoftricks.statistics.layout import Layout, chance
from bagoftricks.statistics.max_t import FloatArray, largest_of_pairs
from bagoftricks.statistics.power import Power, one_test

TwoArms = tuple[str, str]
Scored = Mapping[str, Mapping[int, float]]  # label -> seed -> value

SHARED, MODERATED, OWN = "shared", "moderated", "own"  # whose noise a comparison is tested against
EQUALITY_ALPHA = 0.05  # of the test that all arms have one variance
FEWEST_ALIKE = 3  # arms that share their noise, and comparisons whose variances are moderated
MOST_BORROWED = 2  # degrees of freedom that a moderated variance borrows, over its own: variances are known to differ
ROUNDING = 1e-12  # relative to the values: what subtracting, averaging or fitting them in double precision leaves


@dataclass(frozen=True)
class PairTest:
    """Test of one comparison; the interval is ``estimate`` ± ``margin``, and leaves out 0 where p is at most alpha."""

    estimate: float
    margin: float
    p_adjusted: float
    noise: str
    n: int
    power: Power


def pair_tests(scores: Scored, differences: Mapping[TwoArms, FloatArray], alpha: float) -> dict[TwoArms, PairTest]:
    """Return the tests of pairs of arms, corrected together. Without any spread, a pair has none.

    ``scores``: of arms of no pair as well, which tell of the noise; ``differences``: of each pair, seed by seed.
    """
    labels = [label for label, of in scores.items() if len(of) > 1]
    layout = _layout(scores, labels, list(differences))
    if len(labels) >= FEWEST_ALIKE and layout.pairs and layout.dof >= 1:
        values = _values(scores, labels, layout)
        own = layout.variances(values)[1]
        if math.sqrt(own.max()) > ROUNDING * _largest(scores) and _are_alike(values, own, layout):
            return dict(zip(differences, _shared_tests(values, layout, alpha), strict=True))
    vary = {pair: of for pair, of in differences.items() if np.ptp(of) > 0}
    if len(vary) >= FEWEST_ALIKE:
        return _moderated_tests(vary, layout.dof, alpha)
    return {pair: _t_test(of, float(of.var(ddof=1)), 0.0, OWN, alpha, len(vary)) for pair, of in vary.items()}


def _are_alike(values: FloatArray, own: FloatArray, layout: Layout) -> bool:
    """Return True if all arms may have one variance, by what the means leave and by the comparisons' differences."""
    unequal = float(layout.inequality(own)), float(layout.inequality_of_differences(values))
    return chance(layout).equality(*unequal) >= EQUALITY_ALPHA


def _layout(scores: Scored, labels: Sequence[str], pairs: Sequence[TwoArms]) -> Layout:
    seeds, at = _seeds(scores, labels), {label: index for index, label in enumerate(labels)}
    seen = tuple(tuple(seed in scores[label] for seed in seeds) for label in labels)
    return _cached_layout(seen, tuple((at[one], at[other]) for one, other in pairs))


_cached_layout = lru_cache(maxsize=64)(Layout)


def _values(scores: Scored, labels: Sequence[str], layout: Layout) -> FloatArray:
    """Return the scores (arms, seeds) around the mean of all; 0 where there is no run."""
    rows = [[scores[label].get(seed, math.nan) for seed in _seeds(scores, labels)] for label in labels]
    values = np.array(rows, dtype=np.float64)
    around: FloatArray = np.nan_to_num(values - np.nanmean(values)) * layout.mask
    return around


def _seeds(scores: Scored, labels: Sequence[str]) -> list[int]:
    return sorted({seed for label in labels for seed in scores[label]})


def _largest(scores: Scored) -> float:
    return max(abs(value) for of in scores.values() for value in of.values())


def _shared_tests(values: FloatArray, layout: Layout, alpha: float) -> list[PairTest]:
    law = chance(layout)
    critical, tests, found = law.critical(alpha), largest_of_pairs(layout.pairs), []
    columns = layout.differences(values), layout.variances(values)[0], layout.shared.sum(-1)
    for estimate, variance, n in zip(*columns, strict=True):
        error = math.sqrt(variance)
        power = Power(tests, error * math.sqrt(n), law.dof / (n - 1), alpha)
        p = law.p_value(estimate / error)
        found.append(PairTest(float(estimate), critical * error, p, SHARED, int(n), power))
    return found


def _moderated_tests(
    differences: Mapping[TwoArms, FloatArray], most_dof: float, alpha: float
) -> dict[TwoArms, PairTest]:
    variances = np.array([of.var(ddof=1) for of in differences.values()])
    dofs = np.array([len(of) - 1 for of in differences.values()])
    prior, typical = prior_variance(variances, dofs)
    found = {}
    for (pair, of), variance, dof in zip(differences.items(), variances, dofs, strict=True):
        borrowed = max(0.0, min(prior, MOST_BORROWED * dof, most_dof - dof))
        moderated = (borrowed * typical + dof * variance) / (borrowed + dof)
        found[pair] = _t_test(of, float(moderated), borrowed, MODERATED, alpha, len(differences))
    return found


def prior_variance(variances: FloatArray, dofs: FloatArray) -> tuple[float, float]:
    """Return the degrees of freedom and the value of the variance that all ``variances`` are drawn towards.

    By the moments of their logarithms (Smyth 2004, section 6.2): infinite degrees of freedom if they vary no more than
    estimates of one variance do.
    """
    logs = np.log(variances) - scipy.special.digamma(dofs / 2) + np.log(dofs / 2)
    excess = float(logs.var(ddof=1) - scipy.special.polygamma(1, dofs / 2).mean())
    if excess <= 0:
        return math.inf, float(np.exp(logs.mean()))
    half = scipy.optimize.brentq(lambda x: float(scipy.special.polygamma(1, x)) - excess, 1e-9, 1 / excess + 1)
    return 2 * half, float(np.exp(logs.mean() + scipy.special.digamma(half) - np.log(half)))


def _t_test(
    differences: FloatArray, variance: float, borrowed: float, noise: str, alpha: float, tested: int
) -> PairTest:
    """Return the paired t-test with that variance, corrected for the number of tests (Bonferroni)."""
    n, estimate = len(differences), float(differences.mean())
    dof, error = n - 1 + borrowed, math.sqrt(variance / n)
    p = min(1.0, tested * float(2 * scipy.special.stdtr(dof, -abs(estimate) / error)))
    margin = -error * float(scipy.special.stdtrit(dof, alpha / (2 * tested)))
    power = Power(one_test(), math.sqrt(variance), dof / (n - 1), alpha / tested)
    return PairTest(estimate, margin, p, noise, n, power)
