"""Comparison of a study's means with those of the same study made again: do they repeat?

If both were drawn from one law, the mean of new values falls with the confidence asked for into the prediction interval
of the first ones (Hahn & Meeker 1991, chapter 4; proposed for replications by Patil, Peng & Leek 2016 and Spence &
Stanley 2016): ``mean ± t · s · √(1/n + 1/n')``. Here s is of the values of both, each around its own mean, as one law
has one spread: the interval is Student's for the difference of two means, and one new value is enough where the first
study has several. Values are not paired by seed. On another machine the same seed gives other roundings, which soon are
another run; pairing would halve the degrees of freedom, and would call a difference that is far below what seeds change
a failure. Where seeds do go together, the interval is too wide rather than too narrow.

That a difference is not proven is no proof that there is none, so "repeats" says how large a difference remains
possible.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bagoftricks.statistics.noise import ROUNDING
from bagoftricks.statistics.paired import holm, t_interval, t_p_value

REPEAT_ALPHA = 0.05  # of p, corrected over a table: the share of tables of true repetitions that hold a failure
REPEATS, FAILS, UNKNOWN = "repeats", "does not repeat", "too few seeds to tell"


@dataclass(frozen=True)
class Repeat:
    """Distance of a mean from the one of the first study; no interval without a spread to judge by."""

    n_there: int
    n_here: int
    difference: float | None = None  # here minus there
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None  # corrected over all means of the table that have a p

    @property
    def most(self) -> float | None:
        """Largest difference of the means, up or down, that is inside the interval."""
        return None if self.low is None or self.high is None else max(abs(self.low), abs(self.high))


def repeat_of(there: Sequence[float], here: Sequence[float], confidence: float = 0.95) -> Repeat:
    """Return how the mean of ``here`` compares with that of ``there``, in their unit."""
    counts = len(there), len(here)
    if not all(counts):
        return Repeat(*counts)
    groups = [np.array(values, dtype=np.float64) for values in (there, here)]
    difference = float(groups[1].mean() - groups[0].mean())
    dof = sum(counts) - 2
    within = math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in groups))
    if dof < 1 or within <= ROUNDING * max(float(np.abs(values).max()) for values in groups):
        return Repeat(*counts, difference)
    error = within / math.sqrt(dof) * math.sqrt(sum(1 / n for n in counts))
    low, high = t_interval(difference, error, dof, confidence)
    return Repeat(*counts, difference, low, high, t_p_value(difference, error, dof))


def corrected(repeats: Sequence[Repeat]) -> list[Repeat]:
    """Return the comparisons of one table with their p corrected together (Holm 1979)."""
    p_values = holm([repeat.p for repeat in repeats])
    return [Repeat(**{**vars(repeat), "p_holm": p}) for repeat, p in zip(repeats, p_values, strict=True)]


def repeat_verdict(repeat: Repeat, unit: str = "points", claimed: float | None = None) -> str:
    """Return a comparison in words.

    ``claimed``: an effect that the first study calls helpful or harmful. It repeats if the interval tells the effect
    found here from none at all: if a change by the whole effect is outside.
    """
    if not repeat.n_here or not repeat.n_there:
        return "not run here" if repeat.n_there else "not run there"
    if repeat.p_holm is None or repeat.most is None or repeat.low is None or repeat.high is None:
        return UNKNOWN
    if repeat.p_holm <= REPEAT_ALPHA:
        return FAILS
    if claimed is not None and repeat.low <= -claimed <= repeat.high:
        return UNKNOWN
    return f"{REPEATS}, to within {repeat.most:.2f} {unit}"
