"""Cells of the simulation: designs, noise, and what is counted in each; a kind of cell is a registered function.

All numbers are in sds of the scores of one arm over its seeds (a quiet one, where they differ). A part of that variance
is what a seed does to all arms, which pairing takes out.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Counts = Counter[str]  # "MEASURE: hits" and "MEASURE: of", which add up over batches
Kind = Callable[["Cell", np.random.Generator, int], Counts]

KINDS: dict[str, Kind] = {}
COLLAPSE, COLLAPSE_CHANCE = 30.0, 0.2  # fall of a run of the last arm, and its chance
SEED_PART = 0.27  # of the variance is what a seed does to all arms (0.16 to 0.49 in measured studies)
TRUTHS = (4.0, 2.0)  # of the first effects; all others are 0


def kind(function: Kind) -> Kind:
    """Register how a batch of studies of such a cell is simulated and counted: ``function(cell, rng, studies)``."""
    KINDS[function.__name__] = function
    return function


@dataclass(frozen=True)
class Cell:
    """Law of simulated studies."""

    kind: str
    design: str
    arms: int
    seeds: int
    noise: str = "normal"
    missing: float = 0.0  # share of the runs
    studies: int = 500  # of a batch

    @property
    def name(self) -> str:
        """Name in tables, and of the random draws."""
        parts = [self.design, f"{self.arms} arms", f"{self.seeds} seed{'s' * (self.seeds > 1)}", self.noise]
        return f"{self.kind}: " + ", ".join(parts + [f"{self.missing:.0%} missing"] * (self.missing > 0))

    def simulate(self, batch: int) -> Counts:
        """Return the counts of one batch, which depend on the cell's name and the batch's number alone."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), batch])
        return KINDS[self.kind](self, rng, self.studies)


def add(counts: Counts, measure: str, hits: Iterable[object] | object) -> None:
    """Count the true ones of one or several answers."""
    answers = list(hits) if isinstance(hits, Iterable) else [hits]
    counts[f"{measure}: hits"] += sum(map(bool, answers))
    counts[f"{measure}: of"] += len(answers)


@dataclass(frozen=True)
class Share:
    """Counted share with its Monte Carlo standard error."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else math.nan

    @property
    def error(self) -> float:
        """Standard error; at least that of one hit, so that 0 of n is no certainty."""
        if not self.of:
            return math.nan
        inner = (self.hits + 1) / (self.of + 2)
        return math.sqrt(inner * (1 - inner) / self.of)

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} ± {100 * self.error:.2f}" if self.of else ""


def share(counts: Mapping[str, int], measure: str) -> Share:
    """Return one measure of the counts."""
    return Share(counts.get(f"{measure}: hits", 0), counts.get(f"{measure}: of", 0))


SHAPES: dict[str, Callable[[np.random.Generator, Sequence[int]], FloatArray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "skewed": lambda rng, shape: rng.standard_exponential(shape) - 1,
}


def sds(noise: str, arms: int) -> FloatArray:
    """Return the sd of each arm: "half the arms x2" and the like, and 1 in all other kinds of noise."""
    where, _, factor = noise.rpartition(" x")
    index = np.arange(arms)
    noisy = {"baseline": index == 0, "half the arms": index % 2 == 1, "one arm": index == arms - 1}.get(where)
    return np.ones(arms) if noisy is None else np.where(noisy, float(factor), 1.0)


def draws(noise: str, rng: np.random.Generator, studies: int, arms: int, seeds: int) -> FloatArray:
    """Return scores (studies, arms, seeds) of arms that do nothing; the last one may collapse."""
    of_runs = SHAPES.get(noise, SHAPES["normal"])(rng, (studies, arms, seeds)) * sds(noise, arms)[:, None]
    if noise == "collapsing":
        of_runs[:, -1] -= COLLAPSE * (rng.random((studies, seeds)) < COLLAPSE_CHANCE)
    of_seeds = rng.standard_normal((studies, 1, seeds))
    return np.asarray(math.sqrt(1 - SEED_PART) * of_runs + math.sqrt(SEED_PART) * of_seeds)
