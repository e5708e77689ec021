"""Noise of arms that share their seeds: the layout of arms x seeds, and how its comparisons vary by chance alone.

A score is its arm's mean plus its seed's shift plus noise. What both means leave of each run (the two-way residual)
measures the noise with (arms - 1)(seeds - 1) degrees of freedom, where one comparison's own differences have
(seeds - 1): every comparison borrows from all arms. How much it borrows depends on the design. An arm that takes part
in all comparisons, as a baseline does, would carry its own noise into each of them, so its variance is mostly its own
estimate; an arm of one comparison in ten borrows nearly everything. If all variance were shared, a baseline twice as
noisy as its arms would make 12 % of studies of six arms and three seeds claim something. With these weights 8 % do, at
a price of 4 % of power (``scripts/simulate`` has the figures).

The law of these statistics where no arm differs is simulated for the very layout, missing runs included, from a fixed
seed: normal noise, equal in all arms.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from bagoftricks.statistics.max_t import FloatArray

BORROWED = 0.45  # over the seeds: weight of the shared variance in that of an arm that is in every comparison
SINGULAR = 1e-9  # eigenvalues of normal equations, relative to the largest, and degrees of freedom below this are 0
LEAST_VARIANCE = 0.02  # of an arm in the test of equal variances, relative to the shared one: ties are no evidence
STUDIES = 40_000  # simulated, for small layouts; large ones have half
LARGE_LAYOUT = 200  # runs
CHUNK = 2**21  # numbers at a time


@dataclass(frozen=True)
class Layout:
    """Runs that arms have of seeds, and the pairs of arms that are compared, by their positions."""

    seen: tuple[tuple[bool, ...], ...]
    pairs: tuple[tuple[int, int], ...]

    @cached_property
    def mask(self) -> FloatArray:
        """Runs that exist: (arms, seeds), 1 or 0."""
        return np.array(self.seen, dtype=np.float64)

    @cached_property
    def shared(self) -> FloatArray:
        """Seeds that both arms of a comparison have: (comparisons, seeds), 1 or 0."""
        first, second = self._sides
        return self.mask[first] * self.mask[second]

    @cached_property
    def _sides(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        sides = np.array(self.pairs, dtype=np.intp).reshape(-1, 2)
        return sides[:, 0], sides[:, 1]

    @cached_property
    def _seeds_inverse(self) -> FloatArray:
        """Inverse of the normal equations of the seeds' shifts, once the arms' means are taken out."""
        within = self.mask / self.mask.sum(1, keepdims=True)
        return np.linalg.pinv(np.diag(self.mask.sum(0)) - self.mask.T @ within, rcond=SINGULAR, hermitian=True)

    @cached_property
    def arm_dof(self) -> FloatArray:
        """Expected sum of squared residuals of each arm, in units of the noise's variance; their sum is ``dof``."""
        counts, inverse = self.mask.sum(1), self._seeds_inverse
        seeds = self.mask @ np.diag(inverse) - ((self.mask @ inverse) * self.mask).sum(1) / counts
        return np.asarray(counts - 1 - seeds)

    @cached_property
    def _own_weights(self) -> FloatArray:
        """Weight of each arm's own variance: its part of the comparisons, and less with few seeds."""
        part = np.bincount(np.concatenate(self._sides), minlength=len(self.seen)) / len(self.pairs)
        return np.asarray(part * (1 - BORROWED / self.mask.sum(1)))

    @property
    def dof(self) -> float:
        """Degrees of freedom of the shared variance, a whole number."""
        return float(round(self.arm_dof.sum()))

    def residuals(self, values: FloatArray) -> FloatArray:
        """Return what the means of arms and seeds leave of ``values`` (..., arms, seeds); 0 where there is no run."""
        counts = self.mask.sum(1, keepdims=True)
        within = (values - (values * self.mask).sum(-1, keepdims=True) / counts) * self.mask
        shifts = (within.sum(-2) @ self._seeds_inverse)[..., None, :]
        return np.asarray((within - shifts + (shifts * self.mask).sum(-1, keepdims=True) / counts) * self.mask)

    def differences(self, values: FloatArray) -> FloatArray:
        """Return the mean paired difference of each comparison: (..., comparisons)."""
        first, second = self._sides
        apart = (values[..., first, :] - values[..., second, :]) * self.shared
        return np.asarray(apart.sum(-1) / self.shared.sum(-1))

    def variances(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the variance of each mean paired difference (..., comparisons), and of one run in each arm.

        An arm that shares no seed with another tells nothing of its noise: it has the shared one.
        """
        return self.variances_of((self.residuals(values) ** 2).sum(-1))

    def variances_of(self, squares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the same from the sum of squared residuals of each arm: (..., arms)."""
        shared = squares.sum(-1, keepdims=True) / self.dof
        known = self.arm_dof > SINGULAR
        own = np.where(known, squares / np.where(known, self.arm_dof, 1), shared)
        first, second = self._sides
        blended = shared + self._own_weights * (own - shared)
        return np.asarray((blended[..., first] + blended[..., second]) / self.shared.sum(-1)), np.asarray(own)

    def inequality(self, own: FloatArray) -> FloatArray:
        """Return how unequal the arms' variances are: Bartlett's statistic (1937), whose law is simulated."""
        return _bartlett(own, self.arm_dof)

    def inequality_of_differences(self, values: FloatArray) -> FloatArray:
        """Return the same of the comparisons, whose own differences have no part of a collapsed run of another arm."""
        first, second = self._sides
        counts = self.shared.sum(-1)
        apart = (values[..., first, :] - values[..., second, :]) * self.shared
        around = (apart - (apart.sum(-1) / counts)[..., None]) * self.shared
        return _bartlett((around**2).sum(-1) / np.maximum(counts - 1, 1), counts - 1)


def _bartlett(variances: FloatArray, dofs: FloatArray) -> FloatArray:
    weights = dofs / max(float(dofs.sum()), SINGULAR)
    mean = (variances * weights).sum(-1)
    floored = np.maximum(variances, LEAST_VARIANCE * mean[..., None])
    return np.asarray(np.log(mean) - (np.log(floored) * weights).sum(-1))


@dataclass(frozen=True)
class Chance:
    """Chance alone where no arm differs: the laws of the largest |t| and of the inequality, and the variance's dof."""

    largest: FloatArray  # |t| of the largest comparison, ascending
    inequality: FloatArray  # of arms, ascending
    inequality_of_differences: FloatArray  # of comparisons, ascending
    dof: float  # of a t distribution whose variance is as uncertain as a comparison's (Satterthwaite 1946)

    def p_value(self, t: float) -> float:
        """Return the share of chance studies whose largest |t| reaches |t| (Davison & Hinkley 1997, chapter 4)."""
        return _upper_share(self.largest, abs(t))

    def critical(self, alpha: float) -> float:
        """Return the largest |t| whose p-value is above ``alpha``: beyond it a comparison stands."""
        return float(self.largest[-1 - int(alpha * (len(self.largest) + 1) - 1)])

    def equality(self, of_arms: float, of_differences: float) -> float:
        """Return the p-value of two tests that all arms have one variance, by their two inequalities (Bonferroni)."""
        arms = _upper_share(self.inequality, of_arms)
        return min(1.0, 2 * min(arms, _upper_share(self.inequality_of_differences, of_differences)))


@lru_cache(maxsize=64)
def chance(layout: Layout) -> Chance:
    """Return the law of a layout's statistics under equal normal noise and no difference."""
    arms, seeds = layout.mask.shape
    studies = STUDIES if arms * seeds <= LARGE_LAYOUT else STUDIES // 2
    rng = np.random.default_rng(0)
    at_once = max(1, CHUNK // (seeds * (arms + len(layout.pairs))))
    largest, inequality, of_differences, moments = [], [], [], np.zeros(2)
    for start in range(0, studies, at_once):
        values = rng.standard_normal((min(at_once, studies - start), arms, seeds), dtype=np.float32)
        variances, own = layout.variances(values)
        largest.append((np.abs(layout.differences(values)) / np.sqrt(variances)).max(-1))
        inequality.append(layout.inequality(own))
        of_differences.append(layout.inequality_of_differences(values))
        relative = variances * layout.shared.sum(-1)
        moments += [relative.mean(-1).sum(), (relative**2).mean(-1).sum()]
    mean, square = moments / studies
    law, arms_law, differences_law = (np.sort(np.concatenate(of)) for of in (largest, inequality, of_differences))
    return Chance(law, arms_law, differences_law, float(2 * mean**2 / (square - mean**2)))


def _upper_share(ascending: FloatArray, value: float) -> float:
    count = len(ascending)
    return float((1 + count - np.searchsorted(ascending, value, side="left")) / (1 + count))
