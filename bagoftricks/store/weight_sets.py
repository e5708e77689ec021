"""Names of weight sets: ``last``, and averages such as ``ema``."""

from collections.abc import Iterable

LAST = "last"  # weight set that the optimiser leaves


def averages(weight_sets: Iterable[str]) -> list[str]:
    """Return the names of the averages."""
    return [name for name in weight_sets if name != LAST]


def reported(weight_sets: Iterable[str]) -> str:
    """Return the name of the weight set that a study reports: the average if there is exactly one, else the last."""
    found = averages(weight_sets)
    return found[0] if len(found) == 1 else LAST
