"""Conclusions from the seeds of a study: means and differences with intervals, and verdicts in words.

Differences are paired by seed: what a seed does to both arms (its initial weights, its order of the data) cancels. All
comparisons of a table take their noise from the layout of arms x seeds that they share (``layout.py``), as far as a
test of equal variances allows; arms that are noisier than the others are set aside, and compared by their own
differences (Student 1908). What is tested is the largest |t| of the table, so p-values and intervals hold together:
where no trick does anything, at most ``alpha`` of all tables call any of them helpful or harmful; ``1 - alpha`` of all
tables have every truth inside its interval; and a verdict stands exactly where its interval leaves out 0.

Where the values do not vary, nothing is known about their spread: no interval, no p-value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.statistics.max_t import FloatArray
from bagoftricks.statistics.noise import ROUNDING, PairTest, pair_tests
from bagoftricks.statistics.power import MOST_SEEDS, Power

NOT_TESTABLE = "not testable"
HELPS, HURTS, NO_EFFECT, UNDECIDED, IDENTICAL = "helps", "hurts", "no effect", "undecided", "identical"
ALPHA = 0.05  # share of tables without any effect that may give a verdict
RESOLVE = 0.5  # points: the difference that matters, unless the user says which does


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
    low: float | None  # of intervals that hold together with the others of the table
    high: float | None
    p_adjusted: float | None  # over all comparisons of the table that have a p
    verdict: str
    noise: str | None = None  # whose noise it was tested against: shared, or its own differences'
    sees: float | None = None  # smallest difference that such a study finds in 80 % of cases
    seeds_low: int | None = None  # fewest seeds that find ``resolve``, by the low end of the noise
    seeds_high: int | None = None  # by its high end; None above 1000
    p_images: float | None = None  # over the test images, where all seeds differ by the same

    @property
    def stands(self) -> bool:
        """Return True if the difference is decided for or against the arm."""
        return self.verdict in (HELPS, HURTS)


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
    alpha: float = ALPHA,
    resolve: float = RESOLVE,
    unit: str = "points",
) -> list[Comparison]:
    """Compare each pair's first arm with its second, all pairs of one table together.

    ``scores`` holds label -> seed -> value; arms of no pair tell of the noise as well. ``alpha`` is the share of tables
    without any effect that may give a verdict, and ``resolve`` (in ``unit``, that of the scores) the difference that
    matters: an interval within it is "no effect". Raises UserError for unknown labels and values that are not finite.
    """
    differences, tests = _tests(scores, pairs, alpha)
    found = []
    for pair in pairs:
        of = differences[pair]
        if (test := tests.get(pair)) is None:
            p = 1.0 if len(of) > 1 and not of.any() else None
            mean = float(of.mean()) if len(of) else None
            found.append(Comparison(*pair, len(of), mean, None, None, p, _untested(of)))
        else:
            found.append(_tested(pair, test, higher_is_better, alpha, resolve, unit))
    return found


def powers(
    scores: Mapping[str, Mapping[int, float]], pairs: Sequence[tuple[str, str]], alpha: float = ALPHA
) -> dict[tuple[str, str], Power]:
    """Return what each tested comparison would find by the number of seeds."""
    return {pair: test.power for pair, test in _tests(scores, pairs, alpha)[1].items()}


def _tests(
    scores: Mapping[str, Mapping[int, float]], pairs: Sequence[tuple[str, str]], alpha: float
) -> tuple[dict[tuple[str, str], FloatArray], dict[tuple[str, str], PairTest]]:
    """Return the differences of the pairs by seed, and the tests of those that have one."""
    differences = {pair: _differences(scores, *pair) for pair in pairs}
    tested = {pair: of for pair, of in differences.items() if len(of) > 1 and of.any()}
    return differences, pair_tests(scores, tested, alpha)


def _tested(
    pair: tuple[str, str], test: PairTest, higher_is_better: bool, alpha: float, resolve: float, unit: str
) -> Comparison:
    fewest, most = test.power.seeds_range(resolve, test.n)
    interval = Interval(test.estimate, test.margin, test.p_adjusted, test.power.sees(test.n))
    words = (HELPS, HURTS) if higher_is_better else (HURTS, HELPS)
    verdict = interval.verdict(words, alpha, resolve, unit, f"{seeds_advice(fewest, most)} would see {resolve:g}")
    numbers = test.estimate, interval.low, interval.high, test.p_adjusted
    return Comparison(*pair, test.n, *numbers, verdict, test.noise, interval.sees, fewest, most)


@dataclass(frozen=True)
class Interval:
    """Simultaneous interval of an estimate, with its p; ``sees``: what such a study finds in 80 % of cases."""

    estimate: float
    margin: float
    p_adjusted: float
    sees: float | None = None

    @property
    def low(self) -> float:
        return self.estimate - self.margin

    @property
    def high(self) -> float:
        return self.estimate + self.margin

    def verdict(self, words: tuple[str, str], alpha: float, resolve: float, unit: str, advice: str = "") -> str:
        """Return the verdict: a word for above or below 0, no effect within ``resolve``, or what is undecided."""
        most = max(-self.low, self.high)
        if self.p_adjusted <= alpha:
            return words[self.estimate < 0]
        if most <= resolve:
            return f"{NO_EFFECT} above {_rounded_up(most)} {unit} either way"
        sees = [] if self.sees is None else [f"sees {two_digits(self.sees)} {unit}"]
        told = ", ".join([*sees, *([advice] if advice else [])])
        return f"{UNDECIDED}: {told}" if told else UNDECIDED


def seeds_advice(fewest: int | None, most: int | None) -> str:
    """Return the range of a number of seeds in words."""
    if fewest is None:
        return f"more than {MOST_SEEDS} seeds"
    if most is None:
        return f"{fewest} to more than {MOST_SEEDS} seeds"
    return f"{fewest} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _rounded_up(value: float) -> str:
    """Return a bound with two digits, never below it."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return two_digits(math.ceil(value / step - 1e-9) * step)


def two_digits(value: float) -> str:
    """Return a number with two significant digits: 1.9, 190."""
    return f"{float(f'{value:.2g}'):g}"


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


def t_interval(estimate: float, error: float, dof: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided t interval around an estimate with standard error ``error``."""
    low, high = (float(scipy.special.stdtrit(dof, p)) for p in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low * error + estimate, high * error + estimate


def t_p_value(estimate: float, error: float, dof: int) -> float:
    """Return the two-sided p-value of the estimate if the truth is 0."""
    return float(2 * scipy.special.stdtr(dof, -abs(estimate) / error))


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


def _untested(differences: FloatArray) -> str:
    n = len(differences)
    if n == 0:
        return "no shared seed: no difference"
    if n == 1:
        return "one seed: no interval, no conclusion"
    if differences.any():
        return f"{NOT_TESTABLE}: all {n} differences are equal, no spread to judge by"
    return IDENTICAL
