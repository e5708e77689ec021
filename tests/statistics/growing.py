"""Simulation of studies that grow look by look and stop what is decided, with the tests of the package."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bagoftricks.statistics.layout import Layout, chance
from bagoftricks.statistics.looks import comparisons_alpha
from bagoftricks.statistics.max_t import FloatArray


class Grown(NamedTuple):
    """What became of simulated studies of arms against a baseline; in shares of studies, but for the seeds."""

    claimed: float  # with a verdict on an arm without effect, at any look
    covered: float  # whose last intervals hold all truths
    found: float  # mean share of the real effects that were found
    seeds: float  # mean over arms and studies, but for the baseline


def grow(
    arms: int,
    looks: Sequence[int],
    studies: int,
    *,
    effects: Sequence[float] = (),
    resolve: float = 1.0,
    sd: float = 1.0,
    alpha: float | None = None,
    seed: int = 1,
) -> Grown:
    """Simulate studies of ``arms`` - 1 arms against a baseline, whose decided arms stop.

    ``sd``: of a run; ``alpha``: of each look, in place of the one that keeps the error of the whole study at 0.05.
    """
    pairs = tuple((arm, 0) for arm in range(1, arms))
    alpha = comparisons_alpha(arms, pairs, tuple(looks), 0.05) if alpha is None else alpha
    truth = np.array([*effects, *[0.0] * (arms - 1 - len(effects))])
    values = sd * np.random.default_rng(seed).standard_normal((studies, arms, max(looks)))
    values[:, 1:] += truth[:, None]
    counts = np.zeros((studies, arms), dtype=int)
    going = np.ones((studies, arms - 1), dtype=bool)
    claimed, found = (np.zeros((studies, arms - 1), dtype=bool) for _ in range(2))
    low, high = np.zeros((2, studies, arms - 1))
    for n in looks:
        active = going.any(1)
        counts[:, 1:][going] = n
        counts[active, 0] = n
        for pattern in np.unique(counts[active], axis=0):
            of = active & (counts == pattern).all(1)
            low[of], high[of] = _intervals(values[of], pattern, pairs, alpha)
        stands, no_effect = (low > 0) | (high < 0), (low >= -resolve) & (high <= resolve)
        claimed |= stands & (truth == 0)
        found |= stands & (np.sign(low + high) == np.sign(truth)) & (truth != 0)
        going &= active[:, None]
        going[active] = ~(stands | no_effect)[active]
    covered = ((low <= truth) & (truth <= high)).all(1)
    real = found[:, truth != 0]
    return Grown(
        float(claimed.any(1).mean()),
        float(covered.mean()),
        float(real.mean()) if real.size else np.nan,
        float(counts[:, 1:].mean()),
    )


def _intervals(values: FloatArray, counts: FloatArray, pairs: tuple[tuple[int, int], ...], alpha: float) -> FloatArray:
    """Return the intervals (2, studies, comparisons) of arms with these numbers of seeds."""
    most = counts.max()
    layout = Layout(tuple(tuple(bool(seed < n) for seed in range(most)) for n in counts), pairs)
    seen = values[..., :most] * layout.mask
    estimates, margins = layout.differences(seen), chance(layout).critical(alpha) * np.sqrt(layout.variances(seen)[0])
    return np.array([estimates - margins, estimates + margins])
