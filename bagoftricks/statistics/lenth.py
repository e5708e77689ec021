"""Tests of the effects of an unreplicated design that leaves no residual: Lenth's pseudo standard error (1989).

Most effects of many are near 0. The median of their sizes, and again that of those which are not far beyond it, tells
the noise of them all. The law of the largest effect over that error, where none is real, is simulated for the number of
effects (as Ye & Hamada 2000 do), from a fixed seed.
"""

from functools import lru_cache

import numpy as np

from bagoftricks.statistics.max_t import FloatArray

FEWEST_EFFECTS = 5  # of which a median is taken
LENTH_STUDIES = 40_000


def pseudo_error(effects: FloatArray) -> FloatArray:
    """Return the pseudo standard error of ``effects`` (..., effects) of one precision."""
    sizes = np.abs(effects)
    typical = 1.5 * np.median(sizes, axis=-1, keepdims=True)
    inner = np.where(sizes < 2.5 * typical, sizes, np.nan)
    return np.asarray(1.5 * np.nanmedian(inner, axis=-1))


def lenth_p_value(ratio: float, effects: int) -> float:
    """Return the chance that the largest of ``effects`` null effects is that many pseudo errors away from 0."""
    law = _largest(effects)
    return float((1 + (law >= ratio).sum()) / (1 + len(law)))


def lenth_critical(alpha: float, effects: int) -> float:
    """Return the largest ratio of an effect to the pseudo error whose p-value is above ``alpha``."""
    law = _largest(effects)
    return float(law[-1 - int(alpha * (len(law) + 1) - 1)])


@lru_cache(maxsize=16)
def _largest(effects: int) -> FloatArray:
    values = np.random.default_rng(0).standard_normal((LENTH_STUDIES, effects))
    return np.sort(np.abs(values).max(1) / pseudo_error(values))
