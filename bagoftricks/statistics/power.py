"""Differences that a number of seeds is able to find, and the seeds that are enough (noncentral t; Cohen 1988)."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

from bagoftricks.errors import UserError
from bagoftricks.statistics.max_t import LargestT

MOST_SEEDS = 1000  # above this many, the number of seeds that are needed is not worth knowing
POWER = 0.8  # share of studies that find what they are able to find
CONFIDENCE = 0.8  # of the range of an advice: one in ten is above its upper end


@dataclass(frozen=True)
class Power:
    """Comparisons of a design by its number of seeds: its tests, and the noise of one paired difference."""

    tests: LargestT
    sd: float  # between seeds, of a paired difference
    dof: float  # degrees of freedom of ``sd`` for each seed but the first
    alpha: float = 0.05

    def sees(self, n: int, sd: float | None = None) -> float:
        """Return the smallest difference that ``n`` seeds find in 80 % of studies, in the unit of ``sd``.

        To find is to reach a corrected p of at most ``alpha`` on the right side of 0. Raises UserError below two seeds.
        """
        if n < 2:
            raise UserError(f"n={n}: a test over seeds needs two or more")
        return (
            (self.sd if sd is None else sd) / math.sqrt(n) * standard_effect(self.tests, self.dof * (n - 1), self.alpha)
        )

    def seeds(self, resolve: float, sd: float | None = None) -> int | None:
        """Return the fewest seeds that find a difference of ``resolve`` in 80 % of studies; None above 1000."""
        n = bisect_left(range(MOST_SEEDS + 1), -resolve, lo=2, key=lambda n: -self.sees(n, sd))
        return n if n <= MOST_SEEDS else None

    def seeds_range(self, resolve: float, n: int) -> tuple[int | None, int | None]:
        """Return the fewest seeds by the low and by the high end of the noise, which ``n`` seeds leave uncertain."""
        low, high = sd_interval(self.sd, self.dof * (n - 1), CONFIDENCE)
        return self.seeds(resolve, low), self.seeds(resolve, high)


def sd_interval(sd: float, dof: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a standard deviation with ``dof`` degrees of freedom: chi-squared, two-sided."""
    low, high = scipy.stats.chi2.interval(confidence, dof)
    return sd * math.sqrt(dof / high), sd * math.sqrt(dof / low)


@lru_cache(maxsize=1)
def one_test() -> LargestT:
    """Return the law of |t| of a single test."""
    return LargestT(np.eye(1))


@lru_cache(maxsize=4096)
def standard_effect(tests: LargestT, dof: float, alpha: float) -> float:
    """Return the effect, in standard errors, that passes the critical value of ``tests`` in 80 % of studies."""
    critical = tests.critical(alpha, dof)

    def lacking(effect: float) -> float:
        # The test's upper half: its lower half adds next to nothing.
        return 1 - float(scipy.special.nctdtr(dof, effect, critical)) - POWER

    most = 2 * critical + 2
    while lacking(most) < 0:
        most *= 2
    return float(scipy.optimize.brentq(lacking, 0.0, most, rtol=1e-9))
