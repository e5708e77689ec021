"""Simultaneous t tests with one estimate of the noise: the law of the largest of several correlated |t|.

Dunnett's test (1955) is the case of several arms against one. With all estimates of equal truth 0, the vector of t is a
direction times a radius whose square is F-distributed, so the chance that the largest |t| passes a bound is a mean over
directions of F tails (Genz & Bretz 2009, chapter 4, use the same split): smooth, and exact far into the tail.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

FloatArray = npt.NDArray[np.floating[Any]]

_DIRECTIONS = 20_000
_GROUPS = 200  # of directions of nearly one reach, which are looked up as one: small ones where the reach is large
MANY = 100  # tests; for more of them, a fifth of the directions
SAME = 1e-9  # eigenvalues of a correlation below this are 0


class LargestT:
    """Law of the largest |t| of tests with the ``correlation`` (tests, tests) of their estimates."""

    def __init__(self, correlation: FloatArray) -> None:
        values, vectors = np.linalg.eigh(correlation)
        root = (vectors * np.sqrt(values.clip(0)))[:, values > SAME]
        tests, self.rank = root.shape
        directions = np.random.default_rng(0).standard_normal((_DIRECTIONS // (5 if tests > MANY else 1), self.rank))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reach = np.sort(np.abs(directions @ root.T).max(1) ** 2 * self.rank)[::-1]
        starts = np.unique(np.geomspace(1, len(reach), _GROUPS).astype(int)) - 1
        sizes = np.diff(starts, append=len(reach))
        self._reach, self._weights = np.add.reduceat(reach, starts) / sizes, sizes / len(reach)
        self._tests = tests
        self._critical: dict[tuple[float, float], float] = {}

    def p_value(self, t: float, dof: float) -> float:
        """Return the chance that the largest |t| is at least |t|, with noise of ``dof`` degrees of freedom."""
        alone = float(2 * scipy.special.stdtr(dof, -abs(t)))
        largest = float(self._weights @ scipy.special.fdtrc(self.rank, dof, t * t / self._reach))
        at_most: float = min(1.0, self._tests * alone, max(alone, largest))
        return at_most

    def critical(self, alpha: float, dof: float) -> float:
        """Return the |t| whose p-value is ``alpha``."""
        if (alpha, dof) not in self._critical:
            most = -float(scipy.special.stdtrit(dof, alpha / (2 * self._tests)))
            found = scipy.optimize.brentq(lambda t: self.p_value(t, dof) - alpha, 0.0, most * (1 + 1e-9))
            self._critical[alpha, dof] = float(found)
        return self._critical[alpha, dof]


def pairs_correlation(pairs: Sequence[tuple[int, int]]) -> FloatArray:
    """Return the correlation of differences of arms whose runs are alike in noise and number: 0.5 with a shared arm."""
    sides = np.zeros((len(pairs), 1 + max(max(pair) for pair in pairs)))
    for row, (first, second) in enumerate(pairs):
        sides[row, first], sides[row, second] = 1.0, -1.0
    return np.asarray(sides @ sides.T / 2)


def largest_of(correlation: FloatArray) -> LargestT:
    """Return the law of the largest |t| of estimates with that correlation: one object for all alike to rounding."""
    return _largest_of((correlation.round(9) + 0.0).tobytes(), len(correlation))  # -0.0 is 0.0


@lru_cache(maxsize=64)
def _largest_of(correlation: bytes, tests: int) -> LargestT:
    return LargestT(np.frombuffer(correlation).reshape(tests, tests))


@lru_cache(maxsize=16)
def largest_of_pairs(pairs: tuple[tuple[int, int], ...]) -> LargestT:
    """Return the law of the largest |t| among comparisons of arms."""
    return LargestT(pairs_correlation(pairs))
