"""Looks at a study while it grows: how small a p-value must be for a verdict, if the study is judged more than once.

Whoever adds seeds until a difference is significant finds one in 10 % of studies where nothing does anything (looks at
3 and 5 seeds), or in 24 % (each seed up to 20). So the error is shared between the looks: a verdict asks for the same
smaller p at each (Pocock 1977). That p is found by simulating whole studies without any effect, each judged at every
look by the study's own test, so that at most ``alpha`` of them give any verdict at any look. Intervals of confidence
1 - p are then true at all looks together, whenever the study ends (Jennison & Turnbull 1989): arms may stop at their
verdicts, or at "no effect".
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from bagoftricks.statistics.effects import ENOUGH_DOF
from bagoftricks.statistics.layout import CHUNK, Layout
from bagoftricks.statistics.lenth import FEWEST_EFFECTS, pseudo_error
from bagoftricks.statistics.max_t import FloatArray
from bagoftricks.statistics.paired import HELPS, HURTS, NO_EFFECT

MOST_SIMULATED = 60_000  # simulated; fewer of large ones
FEWEST_SIMULATED = 10_000
MOST_NUMBERS = 3_000_000  # simulated, at most, above the fewest studies

FINAL = (HELPS, HURTS, NO_EFFECT)  # beginnings of verdicts that end the training of an arm

LargestOf = Callable[[FloatArray], FloatArray]  # studies (..., arms, seeds) without an effect -> their largest |t|


def is_decided(verdict: str) -> bool:
    """Return True if more seeds have nothing to add to a verdict: it helps, hurts, or has no effect that matters."""
    return verdict.startswith(FINAL)


@lru_cache(maxsize=64)
def comparisons_alpha(arms: int, pairs: tuple[tuple[int, int], ...], looks: tuple[int, ...], alpha: float) -> float:
    """Return the p-value of a verdict on comparisons of arms, by position, judged at ``looks`` (numbers of seeds).

    One seed has no test, so it is no look.
    """
    looks = tuple(n for n in looks if n > 1)
    if not pairs or len(looks) < 2:
        return alpha
    judges = {n: _comparisons_judge(Layout(((True,) * n,) * arms, pairs)) for n in looks}
    return _shared_alpha(judges, arms, alpha)


@lru_cache(maxsize=64)
def effects_alpha(arms: int, effects: int, looks: tuple[int, ...], alpha: float) -> float:
    """Return the p-value of a verdict on the effects of a factorial design, judged at ``looks`` (numbers of seeds).

    Simulated are the design's orthogonal contrasts, seed by seed: some are effects, and all have the noise. One seed is
    a look if there are enough effects, or enough other contrasts, to take the noise from.
    """
    contrasts = arms - 1
    if effects < FEWEST_EFFECTS and contrasts - effects < ENOUGH_DOF:
        looks = tuple(n for n in looks if n > 1)
    if not effects or len(looks) < 2:
        return alpha
    return _shared_alpha({n: _effects_judge(effects) for n in looks}, contrasts, alpha)


def _comparisons_judge(layout: Layout) -> LargestOf:
    first, second = np.array(layout.pairs).T

    def judge(values: FloatArray) -> FloatArray:
        centred = values - values.mean(-2, keepdims=True)
        means = centred.mean(-1)
        residuals = centred - means[..., None]  # of a layout without gaps
        squares = np.einsum("...s,...s->...", residuals, residuals)
        apart = np.abs(means[..., first] - means[..., second])
        return np.asarray((apart / np.sqrt(layout.variances_of(squares)[0])).max(-1))

    return judge


def _effects_judge(effects: int) -> LargestOf:
    def judge(values: FloatArray) -> FloatArray:
        n, contrasts = values.shape[-1], values.shape[-2]
        estimates = values[..., :effects, :].mean(-1)
        if n > 1:
            error = np.sqrt(values.var(-1, ddof=1).mean(-1) / n)
        elif contrasts - effects >= ENOUGH_DOF:
            error = np.sqrt((values[..., effects:, 0] ** 2).mean(-1))
        else:
            error = pseudo_error(estimates)
        return np.asarray(np.abs(estimates).max(-1) / error)

    return judge


def _shared_alpha(judges: dict[int, LargestOf], rows: int, alpha: float) -> float:
    """Return the p that at most ``alpha`` of studies of noise (rows, seeds) reach at any of the looks."""
    most = max(judges)
    studies = min(MOST_SIMULATED, max(FEWEST_SIMULATED, MOST_NUMBERS // (rows * most)))
    at_once = max(1, CHUNK // (rows * most))
    rng, found = np.random.default_rng(0), []
    for start in range(0, studies, at_once):
        values = rng.standard_normal((min(at_once, studies - start), rows, most))
        found.append(np.array([judge(values[..., :n]) for n, judge in judges.items()]))
    largest = np.concatenate(found, axis=1)  # (looks, studies)
    above = largest.argsort(axis=1)[:, ::-1].argsort(axis=1)  # studies with a larger |t| at that look
    smallest = np.sort(above.min(axis=0) + 1) / studies
    return float(min(alpha, smallest[int(alpha * studies) - 1]))
