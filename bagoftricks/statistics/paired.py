"""Conclusions from the seeds of a study: means and differences with t intervals, and verdicts in words.

Intervals and tests are Student's (Student 1908). Differences are paired by seed: what a seed does to both arms (its
initial weights, its order of the data) cancels. The p-values of one table are corrected together (Holm 1979), so that
where no trick does anything, at most ``alpha`` of all tables call any of them helpful or harmful. Intervals are each
trick's own and not corrected: one may exclude 0 although the verdict is "not distinguishable".

Where the values do not vary, nothing is known about their spread: no interval, no p-value.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]
from statsmodels.stats.power import ttest_power  # type: ignore[import-untyped]

from bagoftricks.errors import UserError, did_you_mean

FloatArray = npt.NDArray[np.float64]

ROUNDING = 1e-12  # relative to the values: what subtracting, averaging or fitting them in double precision leaves
MOST_SEEDS = 1000  # above this many, the number of seeds that are needed is not worth knowing


@dataclass(frozen=True)
class Summary:
    """A mean over n values, in their unit, and its interval; None where n is 1 or all values are equal."""

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """Distance of an arm from the one it is compared with (``label`` minus ``against``), over the seeds of both."""

    label: str
    against: str
    n: int  # seeds that both arms have
    difference: float | None  # None without a shared seed
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None  # corrected over all comparisons of the table that have a p
    verdict: str


def summarise(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Return the mean and its t interval: mean ± t(n - 1) · s / √n."""
    require_finite({f"value {index}": value for index, value in enumerate(values)})
    if not values:
        raise UserError("no values, so there is no mean: run at least one seed")
    return _summary(np.array(values, dtype=np.float64), confidence)


def compare(
    scores: Mapping[str, Mapping[int, float]],
    pairs: Sequence[tuple[str, str]],
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    resolution: float = 0.2,
    unit: str = "points",
) -> list[Comparison]:
    """Compare each pair's first arm with its second: the paired t-test over the seeds that both have.

    ``scores`` holds label -> seed -> value; ``pairs`` are all comparisons of one table, which are corrected together.
    ``alpha`` is the share of tables without any effect that may give a verdict, ``1 - alpha`` the confidence of the
    intervals, and ``resolution`` (in ``unit``, that of the scores) the difference that a study should be able to see.
    """
    differences = [_differences(scores, arm, other) for arm, other in pairs]
    p_values = [_p_value(difference) for difference in differences]
    tested = sum(p is not None for p in p_values)
    found = []
    for (arm, other), d, p, p_holm in zip(pairs, differences, p_values, holm(p_values), strict=True):
        mean, low, high = None, None, None
        if len(d):
            summary = _summary(d, 1 - alpha)
            mean, low, high = summary.mean, summary.low, summary.high
        if p_holm is None or not d.any():
            verdict = _untested(d)
        elif p_holm <= alpha:
            verdict = "helps" if (d.mean() > 0) == higher_is_better else "hurts"
        else:
            verdict = f"not distinguishable ({_advice(d, resolution, alpha / tested, unit)})"
        found.append(Comparison(arm, other, len(d), mean, low, high, p, p_holm, verdict))
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over those that are not None.

    That of statsmodels collects the garbage of the whole process each time, half a second next to torch.
    """
    tested = np.array([p for p in p_values if p is not None], dtype=np.float64)
    order = np.argsort(tested)
    corrected = np.empty_like(tested)
    corrected[order] = np.maximum.accumulate(tested[order] * np.arange(len(tested), 0, -1)).clip(max=1)
    found = iter(corrected.tolist())
    return [None if p is None else next(found) for p in p_values]


def seeds_needed(sd: float, resolution: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return the fewest seeds, None above 1000, whose paired t-test detects a difference of ``resolution``.

    ``sd`` is the standard deviation of the differences between seeds. To see is to find, in ``power`` of all studies, a
    two-sided p of at most ``alpha`` on the right side of 0: from the noncentral t distribution (Cohen 1988, chapter 2).
    """

    def reached(n: int) -> float:
        # The test's upper half: its lower half adds next to nothing, and is nan for large effects.
        return float(ttest_power(resolution / sd, n, alpha / 2, alternative="larger"))

    n = bisect_left(range(MOST_SEEDS + 1), power, lo=2, key=reached)
    return n if n <= MOST_SEEDS else None


def detectable(sd: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest difference that a paired t-test over ``n`` seeds detects in ``power`` of all studies.

    The inverse of ``seeds_needed``; ``sd`` and the result have one unit. Raises UserError for fewer than two seeds.
    """
    if n < 2:
        raise UserError(f"n={n}: a test over seeds needs two or more")

    def lacking(effect: float) -> float:
        return float(ttest_power(effect, n, alpha / 2, alternative="larger")) - power

    most = 2.0
    while lacking(most) < 0:
        most *= 2
    return sd * float(brentq(lacking, 0.0, most, rtol=1e-10))


def sd_interval(sd: float, dof: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a standard deviation with ``dof`` degrees of freedom: chi-squared, two-sided."""
    low, high = stats.chi2.interval(confidence, dof)
    return sd * math.sqrt(dof / high), sd * math.sqrt(dof / low)


def t_interval(estimate: float, error: float, dof: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided t interval around an estimate with standard error ``error``."""
    low, high = stats.t.interval(confidence, dof, loc=estimate, scale=error)
    return float(low), float(high)


def t_p_value(estimate: float, error: float, dof: int) -> float:
    """Return the two-sided p-value of the estimate if the truth is 0."""
    return float(2 * stats.t.sf(abs(estimate) / error, dof))


def require_finite(values: Mapping[str, float]) -> None:
    """Refuse nan and infinity, with the name of what has it."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(f"{name} is {value}, which no mean can hold: leave that run out, or train it again")


def _summary(values: FloatArray, confidence: float) -> Summary:
    n, mean = len(values), float(values.mean())
    if np.ptp(values) == 0:  # so it is for a single value
        return Summary(n, mean, None, None)
    return Summary(n, mean, *t_interval(mean, _standard_error(values), n - 1, confidence))


def _standard_error(values: FloatArray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _differences(scores: Mapping[str, Mapping[int, float]], arm: str, other: str) -> FloatArray:
    """Arm minus other, one per shared seed; those that agree to rounding are made equal, and 0 if they are next to it.

    Without that, 70.1 - 70.0 and 71.1 - 71.0 would differ by 1e-14, and any two seeds that agree prove everything.
    """
    for label in (arm, other):
        if label not in scores:
            raise UserError(f"'{label}' is not among the arms that have scores{did_you_mean(label, scores)}")
        require_finite({f"arm '{label}', seed {seed}": value for seed, value in scores[label].items()})
    seeds = sorted(scores[arm].keys() & scores[other].keys())
    both = np.array([[scores[label][seed] for seed in seeds] for label in (arm, other)], dtype=np.float64)
    differences: FloatArray = both[0] - both[1]
    rounding = ROUNDING * float(np.abs(both).max(initial=0))
    if seeds and np.ptp(differences) <= rounding:
        differences = np.full_like(differences, differences[0] if abs(differences[0]) > rounding else 0.0)
    return differences


def _p_value(differences: FloatArray) -> float | None:
    """Return the p-value of the one-sample t-test on the differences; 1 if all are 0, None without a test."""
    n = len(differences)
    if n < 2:
        return None
    if np.ptp(differences) == 0:
        return None if differences.any() else 1.0
    return t_p_value(float(differences.mean()), _standard_error(differences), n - 1)


def _untested(differences: FloatArray) -> str:
    n = len(differences)
    if n == 0:
        return "no shared seed: no difference"
    if n == 1:
        return "one seed: no interval, no conclusion"
    if differences.any():
        return f"not testable (all {n} differences are equal: no spread to judge by)"
    return "identical"


def _advice(differences: FloatArray, resolution: float, alpha: float, unit: str) -> str:
    """Return how many seeds are enough at Holm's first and strictest step, whatever the other comparisons show."""
    n, needed = len(differences), seeds_needed(float(differences.std(ddof=1)), resolution, alpha)
    if needed is not None and needed <= n:
        return f"{n} seeds are about enough to resolve {resolution:g} {unit}"
    return f"needs {f'about {needed}' if needed else f'more than {MOST_SEEDS}'} seeds to resolve {resolution:g} {unit}"
